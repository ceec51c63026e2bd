"""The commands of `edge-agent`."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent import desk
from edge_agent.desk import CONFIG, FAILED, fail
from messages.host import logs, stops

if TYPE_CHECKING:
    from edge_agent.agent import Agent

_log = logging.getLogger("edge_agent")


def main() -> int:
    """Run the command line and return its exit code."""
    given = _parser().parse_args()
    logs.set_up(os.environ)
    try:
        return int(given.handle(given))
    except ImportError as error:
        return fail(FAILED, str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("edge-agent", description="Runs small models on a device, with a hub behind it.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the agent until SIGTERM")
    run.add_argument("--config", required=True, metavar="FILE", help="agent.toml")
    run.add_argument("--check-config", action="store_true", help="say what is wrong with the config, start nothing")
    run.set_defaults(handle=lambda given: _run(given.config, check_only=given.check_config))
    desk.add(commands)
    completion = commands.add_parser("completion", help="print a script that completes words in bash")
    completion.set_defaults(handle=lambda _given: _complete(parser))
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from edge_agent.naming import version

        print(f"edge-agent {version()}")
        parser.exit()


def _complete(parser: argparse.ArgumentParser) -> int:
    from edge_agent.completion import script

    print(script(parser))
    return 0


def _run(path: str, *, check_only: bool) -> int:
    from edge_agent.agent import Agent
    from messages.host.folder import FolderError
    from messages.settings import ConfigError

    try:
        agent = Agent.from_config(path)
    except ConfigError as error:
        return fail(CONFIG, str(error))
    if check_only:
        print(f"{path}: fine; jobs: {', '.join(agent.settings.jobs) or 'none'}")
        return 0
    try:
        asyncio.run(_serve(agent), debug=False)
    except FolderError as error:
        return fail(FAILED, str(error))
    return 0


async def _serve(agent: "Agent") -> None:
    from edge_agent.notify import Notifier

    stops.leave_in_order(asyncio.get_running_loop(), agent.stop)
    notifier = Notifier()
    async with agent:
        notifier.send("READY=1")
        alive = asyncio.create_task(_stay_alive(notifier.watchdog_s / 2.0, notifier.send), name="watchdog")
        try:
            await agent.run()
        finally:
            alive.cancel()
            notifier.send("STOPPING=1")
            _log.info("stopping")


async def _stay_alive(every_s: float, send: Callable[[str], None]) -> None:
    """Tell the service manager that the event loop still turns. It need not know whether the broker is there."""
    while every_s > 0.0:
        send("WATCHDOG=1")
        await asyncio.sleep(every_s)
