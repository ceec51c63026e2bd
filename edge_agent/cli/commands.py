"""The commands of `edge-agent`."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from messages.host import logs, stops

if TYPE_CHECKING:
    from edge_agent.agent import Agent

Commands = Any
"""What argparse's `add_subparsers` gives: a type that it keeps to itself."""

_log = logging.getLogger("edge_agent")


def main() -> int:
    """Run the command line and return its exit code."""
    given = _parser().parse_args()
    logs.set_up(os.environ)
    try:
        return int(given.handle(given))
    except ImportError as error:
        return logs.fail(_log, logs.FAILED, str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("edge-agent", description="Runs small models on a device, with a hub behind it.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the agent until SIGTERM")
    run.add_argument("--config", required=True, metavar="FILE", help="agent.toml")
    run.add_argument("--check-config", action="store_true", help="say what is wrong with the config, start nothing")
    run.set_defaults(handle=lambda given: _run(given.config, check_only=given.check_config))
    _add_desk(commands)
    completion = commands.add_parser("completion", help="print a script that completes words in bash")
    completion.set_defaults(handle=lambda _given: _complete(parser))
    return parser


def _add_desk(commands: Commands) -> None:
    _command(commands, "doctor", "check everything and say what to do").add_argument(
        "--sample", action="store_true", help="also take one sample from every source"
    )
    check = _command(commands, "check-plugin", "call a plug-in of yours as the agent would, and say what is wrong",
                     config="an agent.toml that names it: for its options and its model")  # fmt: skip
    check.add_argument("name", metavar="MODULE:NAME")
    check.add_argument("--kind", default="", choices=("source", "policy", "engine", "sink"), help="what it is to be")
    config = commands.add_parser("config", help="look at the settings").add_subparsers(required=True, metavar="COMMAND")
    shown = _command(config, "show", "every setting that is in force")
    shown.set_defaults(handle=partial(_desk, "config"))
    shown.add_argument("--origin", action="store_true", help="and where it comes from")
    predicted = _command(commands, "predict", "run a job's model on a file of samples, to calibrate with")
    predicted.add_argument("job", metavar="JOB")
    predicted.add_argument("samples", metavar="FILE.npz", help="with an array x: one sample a row")
    predicted.add_argument("-o", "--out", required=True, metavar="OUT.npz", help="its arrays, and `edge` and `model`")
    for name in ("dead-letters", "quarantine"):
        _add_leftovers(commands, name)


def _add_leftovers(commands: Commands, name: str) -> None:
    inner = commands.add_parser(name, help=f"list, show and drop what is in {name}").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listed = _command(inner, "list", "oldest first")
    if name == "dead-letters":
        listed.add_argument("--job", default="", help="of this job only")
    listed.add_argument("--since", default="", metavar="TIME", help="90s, 15m, 2h, 3d (ago), or a date and time")
    listed.add_argument("--after", type=int, default=0, metavar="ID", help="go on behind this row")
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many rows (50)")
    _command(inner, "show", "one row with its content").add_argument("id", type=int)
    many = {"drop": "throw rows away"}
    if name == "dead-letters":
        many["retry"] = "put rows back into the outbox; the agent must not run"
    for verb, said in many.items():
        which = _command(inner, verb, said)
        which.add_argument("id", type=int, nargs="*")
        which.add_argument("--all", action="store_true", help="all rows")
    for parser in inner.choices.values():
        parser.set_defaults(table=name.replace("-", "_"))


def _command(commands: Commands, name: str, said: str, *, config: str = "") -> argparse.ArgumentParser:
    """A command of the desk; `config` says what a config is good for that may be left out."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=said, description=said)
    parser.add_argument("--config", required=not config, metavar="FILE", help=config or "agent.toml")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handle=partial(_desk, name))
    return parser


def _desk(command: str, given: argparse.Namespace) -> int:
    from edge_agent.cli import desk

    return desk.run(command, given)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from edge_agent.naming import version

        print(f"edge-agent {version()}")
        parser.exit()


def _complete(parser: argparse.ArgumentParser) -> int:
    from edge_agent.cli.completion import script

    print(script(parser))
    return 0


def _run(path: str, *, check_only: bool) -> int:
    from edge_agent.agent import Agent
    from messages.host.folder import FolderError
    from messages.settings.read import ConfigError

    try:
        agent = Agent.from_config(path)
    except ConfigError as error:
        return logs.fail(_log, logs.CONFIG, str(error))
    if check_only:
        print(f"{path}: fine; jobs: {', '.join(agent.settings.jobs) or 'none'}")
        return 0
    try:
        asyncio.run(_serve(agent), debug=False)
    except FolderError as error:
        return logs.fail(_log, logs.FAILED, str(error))
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
