"""Every setting says where it comes from, and no secret is shown."""

from pathlib import Path

import pytest

from cloud_hub.config import HubSettings
from edge_agent.config import AgentSettings
from messages.settings.origin import lines, settings
from messages.settings.read import FIRST_LEVELS, ConfigError

TEXT = """node = "cam"
[mqtt]
url = "mqtt://broker"
[outbox]
sample = {rows = 5}
[jobs.Front-door]
model = "m.npz"
source = {use = "camera:frames", url = "rtsp://me:word@camera/1", password = "word", fps = 5}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(TEXT)
    return path


def test_a_value_comes_from_the_file_the_environment_or_is_the_default(file: Path) -> None:
    environ = {"SKERRY_BEAT_S": "5", "SKERRY_JOBS__FRONT_DOOR__KEEP": "every", "SKERRY_OUTBOX__AUDIT": "{rows = 1}"}
    found = {item.key: (item.value, item.origin) for item in settings(file, AgentSettings, environ=environ)}
    assert found["node"] == ("cam", f"{file}:1")
    assert found["mqtt.url"] == ("mqtt://broker", f"{file}:3")
    assert found["mqtt.keepalive_s"] == (30, "default")
    assert found["beat_s"] == (5.0, "SKERRY_BEAT_S")
    assert found["outbox.sample.rows"] == (5, f"{file}:5")
    assert found["outbox.sample.bytes"] == (0, "default")
    assert found["outbox.audit.rows"] == (1, "SKERRY_OUTBOX__AUDIT")
    assert found["jobs.Front-door.model"] == ("m.npz", f"{file}:7")
    assert found["jobs.Front-door.keep"] == ("every", "SKERRY_JOBS__FRONT_DOOR__KEEP")


def test_no_secret_is_shown(file: Path) -> None:
    found = settings(file, AgentSettings, environ={"SKERRY_MQTT__USERNAME": "cam"})
    (source,) = [item.value for item in found if item.key == "jobs.Front-door.source"]
    assert source == {
        "use": "camera:frames", "url": "rtsp://(hidden)@camera/1", "password": "(hidden)", "fps": 5
    }  # fmt: skip
    assert "word@" not in "\n".join(lines(found, origin=True))


def test_as_text_it_is_one_line_for_each_setting(file: Path) -> None:
    found = settings(file, AgentSettings, environ={})
    assert lines(found, origin=False)[0] == 'node = "cam"'
    assert lines(found, origin=True)[0].split() == ["node", "=", '"cam"', "#", f"{file}:1"]


def test_wrong_settings_are_refused_as_everywhere(file: Path) -> None:
    file.write_text("")
    with pytest.raises(ConfigError, match=r"agent\.toml: node: missing"):
        settings(file, AgentSettings, environ={})


def test_the_first_levels_are_those_of_both_programs_and_of_the_scripts() -> None:
    assert {*AgentSettings.__struct_fields__, *HubSettings.__struct_fields__, "python"} == FIRST_LEVELS
