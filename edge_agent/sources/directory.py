"""A watched folder as a source: whatever is put there is judged once, and stays, moves or goes.

A file is read when it has stopped changing: its size and time are the same in two looks, `stable_s` apart. A writer
that pauses for longer gives it another name first, `.name` or `name.part`, and renames it when it is whole.
"""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from edge_agent import plugins
from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import IDLE, Bad, Keep, Sample, SourceError
from edge_agent.sources.files import FileOptions, read
from edge_agent.sources.progress import Found, Progress
from messages.codec import BadPayload
from messages.desk.plug_ins import described

_UNFINISHED = (".part", ".tmp", ".crdownload")

Watched = Generator[Any, str | None, Any]
"""Yields readings; each `yield` gives back what was wrong with the last one, None when it was used."""


class Directory(FileOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`path` is the folder; what is below its subfolders is not looked at, nor what does not match `pattern`.

    `after` says what becomes of a file whose samples were all judged: "keep" leaves it, "move" puts it into `done/`,
    "delete" deletes it. With the last two, a file with a bad reading goes to `failed/`. Progress is remembered in
    `.skerry.db` there, so a restart goes on behind the last row; a CSV table that grows goes on behind it too.
    """

    path: str
    after: Literal["keep", "move", "delete"] = "keep"
    pattern: str = "*"
    stable_s: float = 1.0

    @property
    def keep(self) -> Keep:
        """Every file was put there to be judged."""
        return "every"

    def open(self, takes: TensorSpec, folder: Path) -> Watched:
        """The samples, named after their files. Raises SourceError when there is no such folder."""
        inbox = folder / self.path
        if not inbox.is_dir():
            raise SourceError(f"path {inbox}: there is no such folder")
        return _watch(inbox, self, takes)


def _watch(inbox: Path, options: Directory, takes: TensorSpec) -> Watched:
    before: set[Found] = set()
    with closing(Progress(inbox)) as progress:
        while True:
            now = set(_look(inbox, options.pattern))
            progress.keep_only({file.name for file in now})
            for file in sorted(now & before, key=lambda file: (file.mtime_ns, file.name)):
                if not progress.finished(file):
                    items = _items(inbox, file, options=options, takes=takes)
                    failed = yield from _judge(file, items, progress)
                    yield from _put_away(inbox, file, options.after, failed=failed)
                    progress.finish(file)
            before = now
            yield from _wait(options.stable_s)


def _wait(seconds: float) -> Iterator[object]:
    """Sleep, but say now and then that all is well."""
    end = time.monotonic() + seconds
    yield IDLE
    while (rest := end - time.monotonic()) > 0.0:
        time.sleep(min(1.0, rest))
        yield IDLE


def _look(inbox: Path, pattern: str) -> Iterator[Found]:
    with os.scandir(inbox) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".") or entry.name.endswith(_UNFINISHED)
            if hidden or not fnmatch(entry.name, pattern) or not entry.is_file():
                continue
            try:
                yield Found.of(entry)
            except FileNotFoundError:  # gone since
                continue


def _items(inbox: Path, file: Found, *, options: Directory, takes: TensorSpec) -> Iterator[Sample | Bad]:
    """The readings of one file by their full names. Whatever its decoder raises ends the file, not the source."""
    try:
        items = plugins.call(file.label, read, inbox / file.name, options, takes)
        while True:
            item = plugins.call(file.label, next, items)
            if isinstance(item, Bad):
                yield Bad(f"{file.label}{item.where}", item.reason)
            else:
                yield Sample(file.sample_id(item.sample_id), item.x)
    except StopIteration:
        return
    except plugins.PluginFailed as error:
        cause = error.__cause__
        if isinstance(cause, SourceError):
            raise cause from error
        yield Bad(file.label, str(cause) if type(cause) in (ValueError, BadPayload) else described(cause))


def _judge(file: Found, items: Iterator[Sample | Bad], progress: Progress) -> Watched:
    """Have the readings judged that were not before; whether one of them was bad."""
    done, failed = progress.rows(file, grows=file.name.lower().endswith(".csv")), False
    for number, item in enumerate(items, 1):
        whole = isinstance(item, Bad) and item.where == file.label  # not a row, and may be mended
        if number <= done and not whole:
            continue
        refusal = yield item
        failed |= refusal is not None
        if not whole:
            done = number
            progress.mark(file, done)
    progress.mark(file, done)
    return failed


def _put_away(inbox: Path, file: Found, after: str, *, failed: bool) -> Watched:
    path = inbox / file.name
    try:
        if after == "delete" and not failed:
            path.unlink(missing_ok=True)
        elif after != "keep":
            folder = inbox / ("failed" if failed else "done")
            folder.mkdir(exist_ok=True)
            place = folder / file.name
            path.rename(place if not place.exists() else folder / f"{path.stem}@{file.mtime_ns}{path.suffix}")
    except OSError as error:
        yield Bad(file.label, f"cannot be put away: {error}")
