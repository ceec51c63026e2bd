"""Reads the blocks of Markdown files, so that documentation can be run.

```console                       every `$ command` runs and succeeds; the lines below it are in its output
```console another-system        needs another machine (a board, a cluster): not run
```console covered-by=PATH       runs elsewhere: a file at or below PATH holds the same program
```LANGUAGE file=NAME            a file; on such a page the commands run in one folder, where these files are

In an output line `…` stands for anything, and a command that ends in `&` runs until the page is through.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ANOTHER_SYSTEM = "another-system"
COVERED_BY = "covered-by="
FILE = "file="


@dataclass(frozen=True)
class Command:
    """One command of a document, the output lines that it promises, and the words behind `console`."""

    place: str
    text: str
    marks: tuple[str, ...]
    output: list[str] = field(default_factory=list)

    @property
    def covered_by(self) -> str | None:
        """The path that runs this command in its stead."""
        return next((mark.removeprefix(COVERED_BY) for mark in self.marks if mark.startswith(COVERED_BY)), None)

    @property
    def runs_here(self) -> bool:
        """Whether the page's own test runs it."""
        return self.covered_by is None and ANOTHER_SYSTEM not in self.marks

    def missing(self, shown: str) -> list[str]:
        """The promised lines that the output lacks."""
        lines = shown.splitlines()
        patterns = {line: ".*".join(map(re.escape, line.split("…"))) for line in self.output}
        return [line for line, pattern in patterns.items() if not any(re.fullmatch(pattern, shown) for shown in lines)]


@dataclass(frozen=True)
class TextFile:
    """One file of a document."""

    name: str
    lines: list[str]


def steps(file: Path, name: str) -> list[Command | TextFile]:
    """The commands and the files of a Markdown file in their order; `name` is how the commands' places call it."""
    return list(_steps(file, name))


def commands(file: Path, name: str) -> Iterator[Command]:
    """The commands of a Markdown file."""
    return (step for step in steps(file, name) if isinstance(step, Command))


def is_story(file: Path) -> bool:
    """Whether a page brings files, so that it is run from top to bottom in one folder."""
    return any(isinstance(step, TextFile) for step in steps(file, file.name))


def _steps(file: Path, name: str) -> Iterator[Command | TextFile]:
    words: tuple[str, ...] = ()
    step: Command | TextFile | None = None
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.startswith("```"):
            words, step = tuple(line.removeprefix("```").split()), None
            for mark in words[1:]:
                if mark.startswith(FILE):
                    step = TextFile(mark.removeprefix(FILE), [])
                    yield step
        elif isinstance(step, TextFile):
            step.lines.append(line)
        elif words[:1] == ("console",) and line.startswith("$ "):
            step = Command(f"{name}:{number}", line.removeprefix("$ "), words[1:])
            yield step
        elif step is not None and line:
            step.output.append(line)
