"""The sources that come with the agent, by the plain names that a config may use beside a plug-in's."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from edge_agent import plugins
from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import Keep
from messages.settings import check as settings_check

_KNOWN = {
    "directory": "edge_agent.sources.directory:Directory",
    "stdin": "edge_agent.sources.stdin:Stdin",
    "camera": "edge_agent.sources.camera:Camera",
}


class Source(NamedTuple):
    """A source as a job needs it: how the log calls it, how it is opened, and what to do when it is too fast."""

    name: str
    open: Callable[[], Iterable[Any]]
    keep: Keep


class Options(Protocol):
    """What each of the known sources is: a struct of the options in its table."""

    @property
    def keep(self) -> Keep:
        """What to do when it is faster than the engine, where the config does not say."""

    def open(self, takes: TensorSpec, folder: Path) -> Iterable[Any]:
        """The samples, as the engine takes them. Paths are relative to `folder`."""


def find(spec: plugins.Spec, field: str, takes: TensorSpec, folder: Path) -> Source:
    """The source that a config names. Raises PluginError that names the config's field."""
    name, options = plugins.split(spec, field)
    if ":" in name:
        return Source(name, plugins.bind(name, options, field), "newest")
    if name not in _KNOWN:
        raise plugins.PluginError(f'{field} = {name!r}: use {", ".join(_KNOWN)} or "module:name"')
    kind = plugins.find(_KNOWN[name], field)
    for problem in settings_check.check(options, kind):
        raise plugins.PluginError(f"{field}.{problem}" if problem.key else f"{field}: {problem}")
    known = cast(Options, msgspec.convert(options, kind))
    return Source(name, partial(known.open, takes, folder), known.keep)
