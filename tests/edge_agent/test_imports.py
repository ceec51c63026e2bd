"""Starting the agent pulls in nothing heavy: neither the hub's packages, nor NumPy where no engine needs it."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "scipy", "aiohttp", "pandas", "sqlite_utils", "typer", "rich", "cloud_hub")


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def loaded_by(module: str) -> set[str]:
    return set(fresh(f"import sys, {module}; print(*sys.modules)").split())


@pytest.mark.parametrize("module", ["edge_agent", "edge_agent.agent", "edge_agent.cli"])
def test_the_agent_imports_nothing_heavy(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert not loaded & {*HEAVY, "numpy", "aiomqtt", "paho", "cryptography"}


def test_neither_do_an_engine_and_the_bus() -> None:
    code = "import edge_agent.engines.numpy_engine, messages.bus.mqtt, sys; print(*sys.modules)"
    loaded = set(fresh(code).split())
    assert {"numpy", "aiomqtt"} <= loaded
    assert not loaded & {*HEAVY, "cryptography"}
