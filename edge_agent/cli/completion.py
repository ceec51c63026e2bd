"""`edge-agent completion`: a script that lets bash complete the command's words."""

import argparse
from collections.abc import Iterator


def script(parser: argparse.ArgumentParser) -> str:
    """What a person puts where bash looks for completions. Names of files are offered after every command."""
    (_, first), *inner = _levels(parser, "")
    cases = [f'    "{path} "*) words="{words}" ;;' for path, words in reversed(inner)]
    return "\n".join(
        [
            "_edge_agent() {",
            "  local words",
            '  case "${COMP_WORDS[*]:1:COMP_CWORD-1} " in',
            *cases,
            f'    *) words="{first}" ;;',
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -f -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            f"complete -F _edge_agent {parser.prog}",
        ]
    )


def _levels(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, str]]:
    """Every command with the words that may follow it, the outer ones first."""
    words: list[str] = []
    inner: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse tells its options nowhere else
        words += action.option_strings or list(action.choices or ())
        if isinstance(action.choices, dict):
            inner = action.choices
    yield path, " ".join(words)
    for name, below in inner.items():
        yield from _levels(below, f"{path} {name}".lstrip())
