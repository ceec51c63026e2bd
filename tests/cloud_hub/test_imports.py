"""A command of the hub starts at once: what takes long to import is imported by what has need of it."""

import subprocess
import sys

HEAVY = {"aiohttp", "amqtt", "numpy", "pandas", "rich", "scipy", "sklearn", "torch"}


def test_a_command_imports_nothing_heavy_not_even_by_way_of_a_library() -> None:
    code = "import cloud_hub.cli.commands, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "sqlite_utils" in loaded
    assert loaded & HEAVY == set()
