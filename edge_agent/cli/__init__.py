"""The command `edge-agent`. Exit codes: 0 done or stopped, 1 could not go on, 2 wrong usage, 78 wrong configuration."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from edge_agent import naming  # noqa: F401  # before anything of `messages`, to say so when that is not ours
    except ImportError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 1
    from messages.host import stops

    if stops.serves(sys.argv[1:]):
        stops.leave_at_once()
    from edge_agent.cli import commands  # it takes 50 ms to import, in which a stop may come

    return commands.main()
