"""The checks that both programs' `doctor` makes on the machine: packages, clock, files, folder, database, leftovers."""

import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from messages.codec import BadPayload
from messages.desk.findings import Finding, cure, fail, ok, warn
from messages.desk.leftovers import Table, moment, reading
from messages.host.folder import FolderError, there

SKEW_S: Final = 60.0
"""Clocks that are further apart than this are told."""

BORN: Final = 1_704_067_200_000
"""2024-01-01 in ms: a clock that says less has not been set."""

Look = Callable[[sqlite3.Connection], object]

_NEED: Final = re.compile(r"([A-Za-z0-9_.-]+)([^;]*)(?:;.*extra==['\"](\w+)['\"])?")
_BOUND: Final = re.compile(r"(>=|<)([\d.]+)")


def machine(file: Path, at: int, extra: str = "") -> list[Finding]:
    """The checks that need no settings, of a program whose config is `file`."""
    return [packages(extra), shadows(file.resolve().parent), clock(at, [file])]


def packages(extra: str = "") -> Finding:
    """Python and the packages that the base install (or an extra) needs, by what the installed Skerry asks for."""
    here = f"Python {sys.version.split()[0]} on {sys.platform}"
    try:
        wanted = requires("skerry") or []
        wrong = [line for line in (_lacks(need, extra) for need in wanted) if line]
    except PackageNotFoundError:
        return ok("packages", f"{here}; Skerry runs without being installed, so versions were not compared")
    name = f"skerry[{extra}]" if extra else "skerry"
    if wrong:
        return fail("packages", "; ".join(wrong), f"pip install --upgrade '{name}' into {sys.prefix}")
    return ok("packages", f"{here}, skerry {version('skerry')}")


def _lacks(need: str, extra: str) -> str:
    """What is wrong with one requirement; empty when nothing is, or when it is another extra's."""
    name, bounds, of_extra = _NEED.match(need.replace(" ", "")).groups()  # type: ignore[union-attr]  # begins with a name
    if (of_extra or "") not in ("", extra):
        return ""
    try:
        installed = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    for sign, bound in _BOUND.findall(bounds):
        if (_number(installed) >= _number(bound)) != (sign == ">="):
            return f"{name} {installed} is installed, and {name}{bounds} is needed"
    return ""


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def shadows(folder: Path) -> Finding:
    """Whether a user's `messages` beside the config would hide Skerry's from a script that lies there."""
    found = next((path for path in (folder / "messages.py", folder / "messages") if there(path)), None)
    if found is None:
        return ok("messages")
    said = f"{found} has the name of Skerry's own package: a script that lies beside it gets the wrong one"
    return warn("messages", said, f"rename {found.name}")


def clock(at: int, files: Iterable[Path]) -> Finding:
    """Whether the machine's clock (`at`, ms) can be right: not before 2024, nor before files that are there."""
    cure = "set the clock, and let NTP keep it: timedatectl set-ntp true"
    if at < BORN:
        return fail("clock", f"it says {moment(at)}: it was never set", cure)
    newest = max(((path.stat().st_mtime, path) for path in files if there(path)), default=(0.0, Path()))
    if newest[0] * 1000.0 > at + SKEW_S * 1000.0:
        written = moment(int(newest[0] * 1000.0))
        return fail("clock", f"it says {moment(at)}, and {newest[1]} was written at {written}", cure)
    return ok("clock", moment(at))


def secret(field: str, path: str) -> Finding:
    """A file that holds a password, a token or a key: readable for this user, for no stranger, and not empty."""
    try:
        mode, content = Path(path).stat().st_mode, Path(path).read_bytes()
    except OSError as error:
        return fail(field, f"{path}: {error.strerror}", "correct the path, or let this user read the file")
    if not content.strip():
        return fail(field, f"{path} is empty", "write the password into it, in one line")
    if mode & 0o007:
        return warn(field, f"{path} can be read by everyone on this machine", f"chmod o-rwx {path}")
    return ok(field)


def data_folder(folder: Path, program: str, *, running: bool) -> Finding:
    """Whether the program could keep its data there. Leaves nothing behind."""
    if running:
        return ok("data_dir", f"{folder}, in use by the {program} that runs")
    place = _nearest(folder)
    try:
        with suppress(FileNotFoundError):
            folder.stat()
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        why = f"data_dir {folder}: {error.strerror}"
        return fail("data_dir", why, f"let the user that runs the {program} write to {place}, or set another data_dir")
    return ok("data_dir", str(folder) if place == folder else f"{folder}, to be made")


def _nearest(folder: Path) -> Path:
    """The folder, or the innermost one around it that is there."""
    return next((path for path in (folder, *folder.parents) if there(path)), Path("/"))


def database(file: Path, program: str, *, running: bool, look: Look = lambda _: ()) -> Finding:
    """Whether the database can be read, looked at and, while the program does not run, written."""
    if not there(file):
        return ok("database", f"{file}, to be made")
    try:
        with closing(reading(file, program)) as reader:
            look(reader)
        if not running:
            _try_to_write(file)
    except (FolderError, sqlite3.Error) as error:
        return fail("database", f"{file}: {str(error).removeprefix(f'{file}: ')}", _cure(str(error), file, program))
    return ok("database")


def _try_to_write(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=1.0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _cure(error: str, file: Path, program: str) -> str:
    away = f"move {file} away: the {program} makes a new one, and what was in it is lost; a backup may be put there"
    cures = {
        "locked": "end the other program that has it open (a backup, a sqlite3 shell)",
        "a later version": "pip install --upgrade 'skerry[hub]', or use another data_dir",
    } | dict.fromkeys(("not a database", "malformed", "no such table"), away)
    return cure(error, cures, f"let the user that runs the {program} read and write {file}")


def disk(folder: Path, least: int, field: str) -> Finding:
    """Whether `least` bytes are free on the data folder's disk; `field` is the setting that asks for them."""
    place = _nearest(folder)
    free = shutil.disk_usage(place).free
    if free < least:
        said = f"{free >> 20} MiB are free at {place}, and {field} asks for {least >> 20} MiB"
        return fail("disk", said, f"make room on that disk, or lower {field}")
    return ok("disk", f"{free >> 20} MiB are free")


def kept(
    file: Path, program: str, command: str, look: Callable[[sqlite3.Connection], Iterable[Finding]]
) -> Iterator[Finding]:
    """What the database tells, beside a program that runs or not: dead letters, quarantine, and what `look` finds."""
    if not there(file):
        return
    # what goes wrong has the check of the database said
    with suppress(FolderError, sqlite3.Error, BadPayload), closing(reading(file, program)) as reader:
        yield _left(reader, "dead_letters", command)
        yield _left(reader, "quarantine", command)
        yield from look(reader)


def _left(reader: sqlite3.Connection, table: Table, command: str) -> Finding:
    """How many, since when, and the commonest reason."""
    name = table.replace("_", "-")
    sql = f"SELECT count(*), min(at), reason FROM {table} GROUP BY reason ORDER BY count(*) DESC"  # noqa: S608
    found: Sequence[tuple[int, int, str]] = reader.execute(sql).fetchall()
    if not found:
        return ok(name)
    said = f"{sum(row[0] for row in found)} since {moment(min(row[1] for row in found))}, mostly: {found[0][2][:120]}"
    return warn(name, said, f"{command} {name} list shows them; show, {'retry, ' if 'dead' in name else ''}drop act")
