"""The command `cloud-hub`. Exit codes: 0 done, 1 could not go on, 2 wrong usage, 78 wrong configuration."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from cloud_hub import naming  # noqa: F401  # before anything of `messages`, to say so when that is not ours
    except ImportError as error:
        print(f"cloud-hub: {error}", file=sys.stderr)
        return 1
    from cloud_hub.cli.commands import app

    app()
    return 0
