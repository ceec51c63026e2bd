"""The command `cloud-hub`. Exit codes: 0 done or stopped, 1 could not go on, 2 wrong usage, 78 wrong configuration."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from cloud_hub import naming  # noqa: F401  # before anything of `messages`, to say so when that is not ours
    except ImportError as error:
        print(f"cloud-hub: {error}", file=sys.stderr)
        return 1
    from messages.host import stops

    if stops.serves(sys.argv[1:]):
        stops.leave_at_once()
    from cloud_hub.cli.commands import app  # it takes 0.2 s to import, in which a stop may come

    app()
    return 0
