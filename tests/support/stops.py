"""Waits until a process can be stopped in order."""

import asyncio
import signal
from asyncio.subprocess import Process
from pathlib import Path


async def handles_stops(process: Process) -> None:
    """Until our code has begun and catches SIGTERM; before that nobody can, for the interpreter itself still starts."""
    async with asyncio.timeout(20):
        while process.returncode is None and not _catches(process.pid, signal.SIGTERM):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def _catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)
