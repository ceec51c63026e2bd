"""The package's own name and version; refuses to go on when a user's `messages` hides Skerry's.

Imported before anything of `messages`, so that a person gets this one line and not a riddle.
"""

from importlib.util import find_spec

import messages

if not hasattr(messages, "__path__") or find_spec("messages.channels") is None:
    _where = getattr(messages, "__file__", None) or next(iter(messages.__path__))
    raise ImportError(f"{_where} hides Skerry's package 'messages': rename it, or run from another folder")


def version() -> str:
    """The installed version; "unknown" when the code runs without being installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("skerry")
    except PackageNotFoundError:
        return "unknown"
