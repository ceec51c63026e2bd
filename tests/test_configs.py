"""The settings that a user copies load as they are, and what they show as a default is the default."""

import re
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.config import HubSettings
from edge_agent.config import AgentSettings
from messages.settings.read import load

CONFIGS = Path(__file__).parent.parent / "configs"
FILES: dict[str, type[Any]] = {"agent.toml": AgentSettings, "hub.toml": HubSettings}


@pytest.mark.parametrize("name", FILES)
def test_commented_settings_are_the_defaults(name: str, tmp_path: Path) -> None:
    text = (CONFIGS / name).read_text()
    spelled_out = tmp_path / name
    spelled_out.write_text(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    assert spelled_out.read_text() != text
    assert load(spelled_out, FILES[name], environ={}) == load(CONFIGS / name, FILES[name], environ={})


@pytest.mark.parametrize("name", FILES)
def test_every_setting_is_shown(name: str, tmp_path: Path) -> None:
    spelled_out = re.sub(r"^#(?=\w+ = )", "", (CONFIGS / name).read_text(), flags=re.MULTILINE)
    shown = set(re.findall(r"^(\w+) = ", spelled_out, flags=re.MULTILINE))
    tables = set(re.findall(r"^(?:#     )?\[(\w+)", spelled_out, flags=re.MULTILINE))
    elsewhere = {"mqtt"} if name == "hub.toml" else set()  # the hub's own broker is what most will want
    assert set(FILES[name].__struct_fields__) - shown - tables == elsewhere
