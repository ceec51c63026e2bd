"""What a `doctor` finds: one line for each check, and for each problem what to do about it."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    """How a check ended. Only `fail` makes the exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One check's result. `problem` and `solution` are one line each, empty where all is well; `note` is what is."""

    name: str
    state: State
    problem: str = ""
    solution: str = ""
    note: str = ""


def ok(name: str, note: str = "") -> Finding:
    """All is well."""
    return Finding(name, State.OK, note=note)


def warn(name: str, problem: str, solution: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(name, State.WARN, problem, solution)


def fail(name: str, problem: str, solution: str) -> Finding:
    """It does not work."""
    return Finding(name, State.FAIL, problem, solution)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing failed, else 1."""
    return int(any(finding.state is State.FAIL for finding in findings))


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings as text: `fail  broker  what is wrong`, and below it what to do."""
    width = max((len(finding.name) for finding in findings), default=0)
    text = []
    for finding in findings:
        text.append(f"{finding.state:<5} {finding.name:<{width}}  {finding.problem or finding.note}".rstrip())
        if finding.solution:
            text.append(f"{'':<5} {'':<{width}}  -> {finding.solution}")
    return text


def cure(error: str, cures: Mapping[str, str], otherwise: str) -> str:
    """What to do about an error: the first cure whose words stand in it."""
    return next((solution for words, solution in cures.items() if words in error), otherwise)


def of_settings(error: str, file: str, example: str) -> list[Finding]:
    """A finding for each line that reading the settings complained about. `example` shows every setting."""
    return [
        fail("environment" if line.startswith("SKERRY_") else "config", line, _cure_setting(line, file, example))
        for line in error.splitlines()
    ]


def _cure_setting(line: str, file: str, example: str) -> str:
    where = f"the variable {line.partition(':')[0]}" if line.startswith("SKERRY_") else file
    cures = {
        "; the nearest is ": f"in {where}, write {line.rpartition('the nearest is ')[2]} or remove it",
        ": missing": f"add it to {file}; {example} shows every setting",
        "is not there, or may not be read": f"correct the path in {file}, or let this user read the file",
        "No such file or directory": f"give --config the path of your file, or begin with a copy of {example}",
    }
    return cure(line, cures, f"correct {where}; {example} shows every setting")
