"""Runs a command of either program in this process, as its entry point would: a new process takes a second."""

import io
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import edge_agent.cli
from cloud_hub.cli.commands import app


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def agent(*arguments: object) -> Done:
    """`edge-agent` with these arguments."""
    return _run("edge-agent", edge_agent.cli.main, arguments)


def hub(*arguments: object) -> Done:
    """`cloud-hub` with these arguments."""
    return _run("cloud-hub", app, arguments)


def cloud_hub(folder: Path, *words: object, code: int = 0) -> str:
    """A command with the config of a folder; what it prints."""
    config = folder / "hub.toml"
    if not config.exists():
        config.write_text("[http]\nport = 0\n[limits]\ndisk_reserve = 0\n[jobs.digits]\n")
    done = hub(*words, "--config", config)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def _run(program: str, main: Callable[[], object], arguments: tuple[object, ...]) -> Done:
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    handlers, level = list(logging.root.handlers), logging.root.level
    sys.argv = [program, *map(str, arguments)]
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    return Done(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
