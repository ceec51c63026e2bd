"""The offload policy as a config writes it: `policy = {use = "offload", budget = 0.2}`."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.plugins import PluginError
from edge_agent.policies.limits import Offline
from messages.offload.shapes import Terms

if TYPE_CHECKING:
    from edge_agent.policies.offload import Offload

OFFLOAD: Final = "offload"
"""The policy that calibrates itself, keeps to a budget, and that the hub may replace."""


def configured(options: dict[str, Any], field: str) -> "Offload":
    """The policy with the terms of its table; without any, the hub's count. Raises PluginError that names the key."""
    from edge_agent.policies.offload import DEFAULT, Offload

    terms = {name: value for name, value in options.items() if name != "offline"}
    try:
        offline = msgspec.convert(options.get("offline", "keep"), Offline)
    except msgspec.ValidationError:
        raise PluginError(f'{field}.offline = {options["offline"]!r}: use "keep" or "skip"') from None
    try:
        return Offload(msgspec.convert(terms, Terms) if terms else DEFAULT, offline=offline)
    except msgspec.ValidationError as error:
        raise PluginError(f"{field}{_named(str(error), terms)}") from None
    except ValueError as error:
        raise PluginError(f"{field}: {error}") from None


def _named(problem: str, terms: dict[str, Any]) -> str:
    """The words of msgspec with the key in front, as the other mistakes of a config are told."""
    said, _, path = problem.partition(" - at `$")
    key = path.rstrip("`")
    if not key:
        return f": {said}; the keys are {', '.join(Terms.__struct_fields__)}, offline"
    return f"{key} = {terms.get(key[1:])!r}: {said[0].lower()}{said[1:]}"
