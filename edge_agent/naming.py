"""Refuses to go on when a user's own `messages` hides Skerry's: imported first by what scripts import."""

from importlib.util import find_spec

import messages

if not hasattr(messages, "__path__") or find_spec("messages.channels") is None:
    _where = getattr(messages, "__file__", None) or next(iter(messages.__path__))
    raise ImportError(f"{_where} hides Skerry's package 'messages': rename it, or run from another folder")
