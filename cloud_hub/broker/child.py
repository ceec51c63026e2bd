"""The hub's own mosquitto: a child process with the generated configuration, started again when it dies."""

import asyncio
import ctypes
import errno
import logging
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cloud_hub.broker.files import write_broker_files
from cloud_hub.broker.settings import BrokerSettings

PATIENCE_S = 5.0
"""How long a port may stay busy (an older broker is still going), and how long a start may take."""

LONGEST_PAUSE_S = 10.0
"""Between two starts of a broker that keeps dying."""

_PR_SET_PDEATHSIG = 1

_log = logging.getLogger("cloud_hub")


class BrokerFailed(Exception):
    """The broker cannot be started; the text names the port or the file and what to do."""


def mosquitto_program() -> str | None:
    """Where mosquitto is; Debian keeps it out of an ordinary user's PATH."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def mosquitto(program: str, settings: BrokerSettings, folder: Path) -> AsyncIterator[None]:
    """Run mosquitto with its files in `folder` until the end of the block. Raises BrokerFailed."""
    try:
        files = write_broker_files(settings, folder)
    except (OSError, ValueError) as error:
        raise BrokerFailed(f"broker: {error}") from error
    await port_is_free(settings)
    command = (program, "-c", str(files.conf))
    process = await _start(command, settings)
    keeper = asyncio.create_task(_keep(command, settings, process), name="keep the broker")
    try:
        yield
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


async def port_is_free(settings: BrokerSettings) -> None:
    """Wait a little for a broker that is still going; raises BrokerFailed when somebody else has the port."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (reason := _refusal(settings)) is not None:
        if reason != errno.EADDRINUSE or asyncio.get_running_loop().time() > deadline:
            what = f"broker: {settings.listen}:{settings.port}: {os.strerror(reason)}"
            raise BrokerFailed(f"{what}; choose another port in [broker], or name that broker in [mqtt]")
        await asyncio.sleep(0.1)


def _refusal(settings: BrokerSettings) -> int | None:
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen, settings.port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


async def _start(command: tuple[str, ...], settings: BrokerSettings) -> Process:
    process = await asyncio.create_subprocess_exec(*command, preexec_fn=_die_with_parent)
    served = False
    try:
        served = await _serves(process, settings)
    finally:
        if not served:  # a stop may come here too, and leaves no zombie
            if process.returncode is None:
                process.kill()
            await process.wait()
    if not served:
        code = process.returncode
        raise BrokerFailed(f"broker: {' '.join(command)} ended with {code} before it served; its own lines say why")
    return process


async def _serves(process: Process, settings: BrokerSettings) -> bool:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(settings.listen, settings.port)
            writer.close()
            return True
        await asyncio.sleep(0.02)
    return False


async def _keep(command: tuple[str, ...], settings: BrokerSettings, process: Process) -> None:
    pause = 0.1
    try:
        while True:
            code = await process.wait()
            _log.error("the broker ended with %d; starting it again in %.1f s", code, pause)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2.0 * pause)
            try:
                process = await _start(command, settings)
            except BrokerFailed as error:
                _log.error("%s", error)
                continue
            _log.info("the broker serves again on %s:%d", settings.listen, settings.port)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    """Ask it to go, and end it when it does not: mosquitto forgets a SIGTERM that comes just before its main loop."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(1.0):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> None:
    """Linux kills the child when the hub vanishes, so that no orphan keeps the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
