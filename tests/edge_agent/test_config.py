"""What may stand in agent.toml, and the one line that says what is wrong with it."""

from pathlib import Path

import pytest

from edge_agent.agent import Agent
from edge_agent.config import load
from messages.delivery.rows import Kind
from messages.settings.read import ConfigError
from tests.support.small_agent import JOB, write_agent


def test_a_small_config_has_sensible_bounds(tmp_path: Path) -> None:
    settings = load(write_agent(tmp_path))
    assert (settings.namespace, settings.beat_s, settings.outbox.sync) == ("default", 30.0, "normal")
    assert set(settings.outbox.caps) == {Kind.SAMPLE, Kind.AUDIT, Kind.REPORT}
    assert all(caps.rows for caps in settings.outbox.caps.values())


def test_caps_and_policies_are_tables(tmp_path: Path) -> None:
    jobs = JOB + "[jobs.side.policy]\nuse = 'threshold'\nthreshold = '0.9'\n"
    jobs += "[outbox]\nsync = 'full'\nsample = {rows = 5}\n"
    file = write_agent(tmp_path, jobs=jobs)
    settings = load(file)
    assert (settings.outbox.sample.rows, settings.outbox.sync) == (5, "full")
    assert Agent.from_config(file).settings == settings


def test_a_rule_may_have_sednas_name_and_parameters_as_text(tmp_path: Path) -> None:
    policy = 'policy = {use = "IBT", threshold_img = "0.9", threshold_box = "0.9"}\n'
    Agent.from_config(write_agent(tmp_path, jobs=JOB + policy))
    with pytest.raises(ConfigError, match=r"jobs.side.policy: random_ratio is '30': give a number from 0 to 1"):
        Agent.from_config(write_agent(tmp_path, jobs=JOB + 'policy = {use = "Random", random_ratio = "30"}\n'))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"node": "a/b"}, "node 'a/b': use 1 to 63 of"),
        ({"more": 'namespace = "+"'}, "namespace '+': use 1 to 63 of"),
        ({"mqtt": 'url = "127.0.0.1:1883"'}, "url '127.0.0.1:1883': begin with mqtt:// or mqtts://"),
        (
            {"mqtt": 'url = "mqtt://127.0.0.1"\nusername = "a"\npassword_file = "gone.txt"'},
            "mqtt.password_file: {folder}/gone.txt is not there, or may not be read",
        ),
        ({"more": "beat_s = 0.0"}, "agent.toml:2: beat_s: expected float >= 0.1"),
        ({"jobs": '[jobs."a b"]\nmodel = "small.npz"\n'}, "job 'a b': use 1 to 63 of"),
        ({"jobs": "[jobs.a]\n"}, "jobs.a: name a model file (model) or an engine plug-in (engine)"),
        ({"jobs": '[jobs.a]\nmodel = "gone.npz"\n'}, "jobs.a: model {folder}/gone.npz: No such file or directory"),
        ({"jobs": '[jobs.a]\nmodel = "small.pt"\n'}, "jobs.a: model {folder}/small.pt: no engine for '.pt'"),
        ({"jobs": JOB + 'policy = "entropi"\n'}, "jobs.side.policy = 'entropi': use cross_entropy, threshold"),
        ({"jobs": JOB + 'policy = {use = "threshold", treshold = 1}\n'}, "threshold does not take these options"),
        ({"jobs": JOB + 'policy = {use = "threshold", threshold = "x"}\n'}, "jobs.side.policy: threshold is 'x'"),
        (
            {"jobs": JOB + 'policy = {use = "offload", budge = 0.2}\n'},
            "policy.budge: unknown key; the nearest",
        ),
        ({"jobs": JOB + 'policy = {use = "offload", budget = 2.0}\n'}, "jobs.side.policy.budget: "),
        ({"jobs": JOB + 'policy = {use = "offload", burst = 5}\n'}, "jobs.side.policy: name a budget (a share), bytes"),
        (
            {"jobs": JOB + 'policy = {use = "offload", budget = 0.1, quality = 0.9}\n'},
            "policy: quality and budget: ",
        ),
        (
            {"jobs": JOB + 'policy = {use = "offload", budget = 0.1, window = "at night"}\n'},
            "window 'at night': ",
        ),
        (
            {"jobs": JOB + 'policy = {use = "offload", offline = "drop"}\n'},
            "policy.offline: expected one of",
        ),
        ({"jobs": JOB + 'policy = "offload"\norder = "mining-then-inference"\n'}, "'offload': judges the edge model's"),
        ({"jobs": JOB + "policy = {threshold = 1}\n"}, "jobs.side.policy.use: name what to use"),
        ({"jobs": JOB + 'policy = "builtins:dict"\n'}, "jobs.side.policy: builtins:dict returned dict"),
        (
            {"jobs": JOB + 'source = "kamera"\n'},
            "jobs.side.source = 'kamera': use directory, stdin, camera or \"module:name\"",
        ),
        ({"jobs": JOB + 'source = "directory"\n'}, "jobs.side.source.path: missing"),
        (
            {"jobs": JOB + 'source = {use = "directory", path = "in", patern = "*.csv"}\n'},
            "jobs.side.source.patern: unknown key; the nearest is 'pattern'",
        ),
        (
            {"jobs": JOB + 'source = {use = "directory", path = "in", after = "burn"}\n'},
            "jobs.side.source.after: expected one of 'keep', 'move', 'delete', got 'burn'",
        ),
        ({"jobs": JOB + 'source = {use = "camera", size = [8]}\n'}, "jobs.side.source.size: "),
        ({"jobs": JOB + "silence_s = -1.0\n"}, "jobs.side.silence_s: expected float >= 0.0"),
        ({"jobs": JOB + 'source = {use = "shutil:which", rate = 3}\n'}, "jobs.side.source: shutil:which does not"),
        ({"jobs": JOB + 'sink = "nowhere:take"\n'}, "jobs.side.sink = 'nowhere:take': there is no module 'nowhere'"),
        ({"jobs": '[jobs.a]\nengine = "builtins:object"\n'}, "jobs.a.engine: builtins:object: an engine has a method"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(tmp_path: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent.from_config(write_agent(tmp_path, **change))
    text = str(caught.value)
    assert words.format(folder=tmp_path) in text
    assert "\n" not in text


def test_a_sample_that_is_too_large_to_travel_is_refused_before_the_first(tmp_path: Path) -> None:
    (tmp_path / "my_big_engine.py").write_text(
        "from edge_agent.engines.protocol import TensorSpec\n"
        "class Big:\n"
        "    input = TensorSpec('uint8', (4320, 7680, 3))\n"
        "    digest = '00' * 32\n"
        "    def predict(self, x): return [1.0]\n"
    )
    job = '[jobs.big]\nengine = "my_big_engine:Big"\n'
    with pytest.raises(ConfigError, match=r"jobs.big: a sample \(uint8\[4320, 7680, 3\]\) has 99532800 bytes, at most"):
        Agent.from_config(write_agent(tmp_path, jobs=job))
    Agent.from_config(write_agent(tmp_path, jobs=job + 'policy = "edge_only"\n'))


def test_the_authorities_for_blobs_are_a_file_beside_the_config(tmp_path: Path) -> None:
    file = write_agent(tmp_path, jobs=JOB + '[blobs]\nca_file = "ca.pem"\n')
    with pytest.raises(ConfigError, match=r"blobs.ca_file"):
        load(file)
    (tmp_path / "ca.pem").touch()
    assert load(file).blobs.ca_file == str(tmp_path / "ca.pem")
