"""Keeping the news of a bad link from filling the log."""

_MOST_TOLD = 1000


class Flaps:
    """Keeps a link that comes and goes for the same reason from filling the log.

    A link counts as steady after `steady_s`; until then the same news is told only once.
    """

    def __init__(self, steady_s: float) -> None:
        self._steady_s = steady_s
        self._told: set[str] = set()
        self._up_since: float | None = None

    def is_news(self, text: str) -> bool:
        """Whether a line should be logged: it was not, since the link was last steady."""
        if text in self._told or len(self._told) > _MOST_TOLD:
            return False
        self._told.add(text)
        return True

    def up(self, now: float) -> None:
        """The link is up, at this run time in seconds."""
        self._up_since = now

    def down(self) -> None:
        """The link is down."""
        self._up_since = None

    def look(self, now: float) -> None:
        """Forget what was told when the link has become steady: what comes then is news."""
        if self._up_since is not None and now - self._up_since > self._steady_s:
            self._told.clear()
