"""Plug-ins are found beside the config file, and one line says what is wrong with one."""

from pathlib import Path

import pytest

from edge_agent import plugins
from edge_agent.plugins import PluginError, PluginFailed


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plugin.py").write_text(
        "number = 3\n"
        "def camera(device, rate=1): return [device] * rate\n"
        "def picky(level):\n"
        "    if level > 9: raise ValueError(f'level is {level}: at most 9')\n"
        "def broken(): return {}['key']\n"
    )
    (tmp_path / "my_broken.py").write_text("import a_module_that_nobody_has\n")
    (tmp_path / "my_error.py").write_text("1 / 0\n")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    plugins.search_beside(tmp_path / "agent.toml")


def test_a_module_beside_the_config_is_found_and_gets_its_options() -> None:
    name, options = plugins.split({"use": "my_plugin:camera", "device": "/dev/video0", "rate": 2}, "jobs.a.source")
    assert plugins.make(name, options, "jobs.a.source") == ["/dev/video0"] * 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_plugin", "'my_plugin': write it as \"module:name\""),
        ("no_such_module:camera", "there is no module 'no_such_module'"),
        ("my_plugin:kamera", "module 'my_plugin' has no 'kamera'"),
        ("my_plugin:number", "is int, not something to call"),
        ("my_broken:camera", "there is no module 'a_module_that_nobody_has'"),
        ("my_error:camera", "ZeroDivisionError: division by zero (my_error.py:1)"),
    ],
)
def test_a_name_that_cannot_be_resolved_is_explained(name: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugins.find(name, "jobs.a.source")
    assert str(caught.value).startswith("jobs.a.source = ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"device": "x"}, "jobs.a.source.use: name what to use"),
        ({"use": "my_plugin:camera", "device": "x", "fps": 3}, "got an unexpected keyword argument 'fps'"),
        ({"use": "my_plugin:picky", "level": 10}, "jobs.a.source: level is 10: at most 9"),
        ({"use": "my_plugin:broken"}, "KeyError: 'key' (my_plugin.py:5)"),
    ],
)
def test_options_that_do_not_fit_are_explained(spec, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        name, options = plugins.split(spec, "jobs.a.source")
        plugins.make(name, options, "jobs.a.source")
    assert words in str(caught.value)


def test_what_a_plugin_raises_names_it_and_the_place() -> None:
    broken = plugins.find("my_plugin:broken", "jobs.a.source")
    with pytest.raises(PluginFailed, match=r"^my_plugin:broken: KeyError: 'key' \(my_plugin\.py:5\)$"):
        plugins.call("my_plugin:broken", broken)
