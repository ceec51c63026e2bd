"""The offload policy as a config writes it: `policy = {use = "offload", budget = 0.2}`."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.plugins import PluginError
from edge_agent.policies.limits import Offline
from messages.offload.shapes import Terms
from messages.settings import check as settings_check

if TYPE_CHECKING:
    from edge_agent.policies.offload import Offload

OFFLOAD: Final = "offload"
"""The policy that keeps to a budget, and that the hub may replace."""


class _Table(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms, and what concerns the device alone."""

    offline: Offline = "keep"


def configured(options: dict[str, Any], field: str) -> "Offload":
    """The policy with the terms of its table; without any, the hub's count. Raises PluginError that names the key."""
    from edge_agent.policies.offload import DEFAULT, Offload

    for problem in settings_check.check(options, _Table):
        raise PluginError(f"{field}.{problem}" if problem.key else f"{field}: {problem}")
    table = msgspec.convert(options, _Table)
    terms = Terms(**{name: getattr(table, name) for name in Terms.__struct_fields__})
    try:
        return Offload(DEFAULT if terms == Terms() else terms, offline=table.offline)
    except ValueError as error:
        raise PluginError(f"{field}: {error}") from None
