"""Which topics a subscription or an access rule takes: `+` is one level, a final `#` all that follow."""


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic falls under a filter. Filters that begin with a wildcard do not take `$` topics."""
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    return _match(pattern.split("/"), topic.split("/"))


def covers(pattern: str, narrower: str) -> bool:
    """Whether every topic of one filter falls under another, so that a subscription to it may be granted."""
    return _match(pattern.split("/"), narrower.split("/"))


def _match(pattern: list[str], levels: list[str]) -> bool:
    for at, level in enumerate(pattern):
        if level == "#":
            return True
        if at >= len(levels) or levels[at] == "#" or level not in ("+", levels[at]):
            return False
    return len(pattern) == len(levels)
