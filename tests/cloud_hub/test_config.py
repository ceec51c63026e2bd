"""hub.toml: what it may say, and the line that a mistake gets."""

from pathlib import Path

import pytest

from cloud_hub.config import HubSettings, job_specs, load, options
from messages.delivery.rows import Kind
from messages.settings.read import ConfigError


def read(folder: Path, text: str) -> HubSettings:
    (folder / "hub.toml").write_text(text)
    return load(folder / "hub.toml")


def test_an_empty_file_is_a_hub_on_this_machine_with_its_own_broker(tmp_path: Path) -> None:
    settings = read(tmp_path, "")
    assert settings.mqtt is None
    assert (settings.broker.listen, settings.http.host) == ("127.0.0.1", "127.0.0.1")
    assert settings.data_dir == str(tmp_path / "data")


def test_paths_are_relative_to_the_file_and_checked(tmp_path: Path) -> None:
    (tmp_path / "cnn.pt").write_bytes(b"")
    text = '[jobs.digits]\npredictor = "cnn:load"\nmodel = "cnn.pt"\ninput = {dtype = "float32", shape = [1, 8, 8]}\n'
    settings = read(tmp_path, text)
    assert settings.jobs["digits"].model == str(tmp_path / "cnn.pt")
    (tmp_path / "cnn.pt").unlink()
    with pytest.raises(ConfigError, match=r"jobs\.digits\.model: .*cnn\.pt is not there"):
        load(tmp_path / "hub.toml")


def test_what_the_core_is_told(tmp_path: Path) -> None:
    text = 'namespace = "plant"\n[limits]\nrows = 5\ncredit = 8\n[jobs.digits]\nbatch_size = 4\nbatch_wait_ms = 10.0\n'
    settings = read(tmp_path, text + 'input = {dtype = "uint8", shape = [8]}\n')
    assert (options(settings).namespace, options(settings).credit) == ("plant", 8)
    assert Kind.ANSWER in options(settings).caps
    spec = job_specs(settings)["digits"]
    assert (spec.batch.batch_size, spec.batch.batch_wait_s) == (4, 0.01)
    assert (spec.dtype, spec.shape, spec.max_rows) == ("uint8", (8,), 5)
    assert settings.broker.namespace == "plant"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("names = 1", "names"),
        ('[jobs.digits]\npredictr = "a:b"', r"jobs\.digits\.predictr.*predictor"),
        ('[jobs."a b"]', "job 'a b'"),
        ('[jobs.digits]\npredictor = "cnn"', "jobs.digits.*module:name"),
        ('[jobs.digits]\nmodel = "cnn.pt"', "needs a predictor"),
        ("[jobs.digits]\nbatch_size = 0", "batch_size"),
        ('[jobs.digits]\ninput = {dtype = "complex64", shape = [2]}', "dtype 'complex64'"),
        ('[jobs.digits]\ninput = {dtype = "uint8", shape = [0]}', "every size is at least 1"),
        ("[jobs.digits]\ntimeout_s = 0.0", r"hub.toml:2: jobs\.digits\.timeout_s: expected float > 0.0"),
        ('[http]\nhost = "0.0.0.0"', "needs a token_file"),
        ("[http]\nport = 70000", r"hub.toml:2: http\.port: expected int <= 65535"),
        ('[http]\ntoken_file = "nowhere"', r"http\.token_file: .*nowhere is not there"),
        ('[broker]\nlisten = "0.0.0.0"', "needs accounts"),
        ("[broker]\nport = 0", r"broker\.port: expected int >= 1"),
        ('[broker]\nnamespace = "other"', r"broker\.namespace is 'other'"),
        ('[broker]\naccounts = {hub = "hub.password"}', r"broker\.accounts\.hub: .*hub\.password is not there"),
        ('[mqtt]\nurl = "http://x"', "begin with mqtt"),
        ("[limits]\ncredit = 0", "credit"),
        ("[limits]\nretry_s = 0.0", "retry_s"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        read(tmp_path, text)


def test_http_on_all_addresses_with_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    settings = read(tmp_path, '[http]\nhost = "0.0.0.0"\ntoken_file = "token"')
    assert settings.http.token_file == str(tmp_path / "token")
