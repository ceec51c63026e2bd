"""Plug-ins: functions and small classes of the user's own, named in a config as "module:name".

They are found by `pkgutil.resolve_name`; the folder of the config file is searched after all others, so a file beside
agent.toml is enough. Their code may raise anything, and this is the one place that catches it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from messages.desk.plug_ins import described

T = TypeVar("T")

Spec = str | dict[str, Any]
"""A plug-in in a config: its name, or a table of `use = "module:name"` and the plug-in's own options."""


class PluginError(Exception):
    """A plug-in is not there or does not take its options. The text names it: a mistake in the config."""


class PluginFailed(Exception):
    """A plug-in's code raised. The text names the plug-in and the error, which is the `__cause__`."""


def search_beside(config_file: Path) -> None:
    """Let modules beside the config file be found; installed ones of the same name come first."""
    folder = str(config_file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def split(spec: Spec, field: str) -> tuple[str, dict[str, Any]]:
    """A plug-in's name and options. Raises PluginError that names the config's field."""
    if isinstance(spec, str):
        return spec, {}
    options = dict(spec)
    name = options.pop("use", None)
    if not isinstance(name, str):
        raise PluginError(f'{field}.use: name what to use, like use = "module:name"')
    return name, options


def find(name: str, field: str) -> Callable[..., Any]:
    """The function or class that a name means. Raises PluginError that names the config's field."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise PluginError(f'{field} = {name!r}: write it as "module:name"')
    try:
        found = call(name, resolve_name, name)
    except PluginFailed as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError):
            raise PluginError(f"{field} = {name!r}: there is no module {cause.name!r}") from error
        if isinstance(cause, AttributeError) and attribute.split(".")[0] in str(cause):
            raise PluginError(f"{field} = {name!r}: module {module!r} has no {attribute!r}") from error
        raise PluginError(f"{field} = {name!r}: {described(cause)}") from error
    if not callable(found):
        raise PluginError(f"{field} = {name!r}: is {type(found).__name__}, not something to call")
    return found  # type: ignore[no-any-return]  # callable, as was just asked


def bind(name: str, options: Mapping[str, Any], field: str) -> Callable[[], Any]:
    """Find a plug-in and hand it the options of its table, without calling it. Raises PluginError."""
    found = find(name, field)
    try:
        _signature(found).bind(**options)
    except TypeError as error:
        raise PluginError(f"{field}: {name} does not take these options: {error}") from error
    return partial(found, **options)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """What a function takes; anything, where it is written in C and does not say."""
    try:
        return inspect.signature(function)
    except ValueError:
        anything = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)
        return inspect.Signature([anything])


def make(name: str, options: Mapping[str, Any], field: str) -> Any:
    """Call a factory with the options of its table. Raises PluginError when it takes others, or refuses them."""
    factory = bind(name, options, field)
    try:
        return call(name, factory)
    except PluginFailed as error:
        if isinstance(error.__cause__, ValueError):
            raise PluginError(f"{field}: {error.__cause__}") from error
        raise PluginError(f"{field}: {error}") from error


def call(name: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run a plug-in's code. Whatever it raises becomes PluginFailed; StopIteration passes, for sources end with it."""
    try:
        return function(*args, **options)
    except StopIteration:
        raise
    except Exception as error:  # a user's code may raise anything: this is the program's one place that expects it
        raise PluginFailed(f"{name}: {described(error)}") from error
