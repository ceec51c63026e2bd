"""Reads the console blocks of Markdown files, so that documentation can be run.

```console                       every `$ command` runs and succeeds; the lines below it are in its output
```console another-system        needs another machine (a board, a cluster): not run
```console covered-by=PATH       runs elsewhere: a file at or below PATH holds the same program
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ANOTHER_SYSTEM = "another-system"
COVERED_BY = "covered-by="


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


def commands(file: Path, name: str) -> Iterator[Command]:
    """The commands of a Markdown file; `name` is how their places call it."""
    marks: tuple[str, ...] | None = None
    command: Command | None = None
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.startswith("```"):
            words = tuple(line.removeprefix("```").split())
            marks, command = (words[1:] if words[:1] == ("console",) else None), None
        elif marks is not None and line.startswith("$ "):
            command = Command(f"{name}:{number}", line.removeprefix("$ "), marks)
            yield command
        elif command is not None and line:
            command.output.append(line)
