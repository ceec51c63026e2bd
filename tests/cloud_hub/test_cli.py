"""The command `cloud-hub`: real processes on a real broker, exit codes, and one clear line for each mistake."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from subprocess import PIPE, CompletedProcess, Popen, run

import numpy as np
import pytest

from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Incoming
from messages.codec import decode, encode
from messages.shapes import Answer, Classes, HardSample, NodeStatus, Receipt
from messages.tensors import pack
from tests.support.big_models import write_models
from tests.support.brokers import RunningBroker, mosquitto
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "cloud_hub.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "140"}


def cloud_hub(*arguments: str, cwd: Path = ROOT) -> CompletedProcess[str]:
    return run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=30, check=False
    )


def write_hub(folder: Path, *, more: str = "", http: int = 0) -> Path:
    write_models(folder)
    file = folder / "hub.toml"
    file.write_text(
        f'{more}\n[http]\nport = {http}\n[limits]\ndisk_reserve = 0\n[jobs.digits]\npredictor = "big:sides"\n'
    )
    return file


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Popen[str]]:
    """A command that runs until the block ends, and is killed if it does not stop by itself."""
    with Popen([*COMMAND, *arguments], stderr=PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as running:  # noqa: ASYNC220
        try:
            yield running
        finally:
            running.kill()


async def line(running: Popen[str], text: str) -> str:
    """Wait for a line of the log."""
    assert running.stderr is not None
    async with asyncio.timeout(30):
        while found := await asyncio.to_thread(running.stderr.readline):
            if text in found:
                return found
    raise AssertionError(f"it ended without {text!r}")


async def ask(broker: RunningBroker) -> Answer:
    """Be a node: say hello, send a sample, take the answer and receipt it."""
    down = channels.downlink("default", "device-1")
    settings = broker.client("device-1")
    async with (
        asyncio.timeout(30),
        MqttBus(settings, client_id="device-1", subscriptions=[down], will=None, random=Random(1)) as bus,
    ):
        sample = HardSample(
            event_id="s.1", timestamp=1, job="digits", sample_id="first", x=pack(np.ones(2, "float32")),
            edge=Classes(probs=(0.5, 0.5)), reason="hard",
        )  # fmt: skip
        async for event in bus.events():
            if isinstance(event, Connected):
                status = NodeStatus(event_id="st", timestamp=1, state="online", session=1, version="0.1.0")
                bus.post(channels.UP_STATUS.topic("default", "device-1"), encode(status), retain=True)
                bus.post(channels.UP_SAMPLE.topic("default", "device-1"), encode(sample))
            if isinstance(event, Incoming) and event.topic.endswith("answer"):
                answer = decode(Answer, event.payload)
                receipt = Receipt(event_id="r", timestamp=1, done=(answer.event_id,), credit=9)
                await bus.publish(channels.UP_RECEIPT.topic("default", "device-1"), encode(receipt))
                return answer
    raise AssertionError("no answer")


async def test_a_hub_answers_over_mqtt_tells_what_it_has_and_stops_at_once(tmp_path: Path) -> None:
    async with mosquitto(tmp_path, nodes=["device-1"]) as broker:
        mqtt = f'[mqtt]\nurl = "{broker.url}"\nusername = "hub"\npassword_file = "{broker.passwords["hub"]}"\n'
        file = str(write_hub(tmp_path, more=mqtt))
        async with process("run", "--config", file) as hub:
            await line(hub, "is ready")
            assert (await ask(broker)).value == Classes(probs=(0.0, 1.0))
            status = json.loads(cloud_hub("status", "--config", file, "--json").stdout)
            assert status["jobs"] == [{"job": "digits", "samples": 1, "waiting": 0, "answered": 1, "failed": 0}]
            (node,) = json.loads(cloud_hub("nodes", "--config", file, "--json").stdout)
            assert (node["node"], node["version"]) == ("device-1", "0.1.0")
            assert "device-1" in cloud_hub("nodes", "--config", file).stdout
            assert "1 nodes" in cloud_hub("status", "--config", file).stdout
            begin = time.monotonic()
            hub.send_signal(signal.SIGTERM)
            await line(hub, "stopped")
            assert hub.wait(5) == 0
            assert time.monotonic() - begin < 2.0


async def test_a_wrong_password_is_one_line_and_the_hub_tries_on(tmp_path: Path) -> None:
    async with mosquitto(tmp_path, nodes=["device-1"]) as broker:
        (tmp_path / "wrong").write_text("wrong\n")
        mqtt = f'[mqtt]\nurl = "{broker.url}"\nusername = "hub"\npassword_file = "wrong"\n'
        async with process("run", "--config", str(write_hub(tmp_path, more=mqtt))) as hub:
            assert "hub" in await line(hub, "no connection to the broker")
            assert hub.poll() is None


async def test_two_hubs_never_share_a_folder(tmp_path: Path) -> None:
    file = str(write_hub(tmp_path))
    async with process("run", "--config", file, "--broker", f"mqtt://127.0.0.1:{free_port()}") as first:
        await line(first, "starts")
        second = cloud_hub("run", "--config", file, "--broker", "mqtt://127.0.0.1:1")
        assert second.returncode == 1
        assert "another hub is using it" in second.stderr


def test_a_config_is_checked_without_starting_anything(tmp_path: Path) -> None:
    file = write_hub(tmp_path, more='[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    fine = cloud_hub("run", "--config", str(file), "--check-config")
    assert (fine.returncode, fine.stdout) == (0, f"{file}: fine; jobs: digits\n")
    assert not (tmp_path / "data").exists()
    file.write_text("nmespace = 'x'")
    wrong = cloud_hub("run", "--config", str(file), "--check-config")
    assert wrong.returncode == 78
    assert "nmespace" in wrong.stderr
    assert "namespace" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run"], 2, "--config"),
        (["fly"], 2, "fly"),
        (["run", "--config", "nowhere.toml"], 78, "nowhere.toml: No such file"),
        (["run", "--config", "hub.toml", "--broker", "http://x"], 78, "begin with mqtt://"),
        (["status", "--config", "hub.toml"], 1, "has this hub ever run"),
        (["nodes", "--config", "hub.toml"], 1, "has this hub ever run"),
    ],
)
def test_exit_codes_and_their_one_line(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    write_hub(tmp_path)
    done = cloud_hub(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_busy_http_port_is_named(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    file = write_hub(tmp_path, http=port)
    done = await asyncio.to_thread(cloud_hub, "run", "--config", str(file), "--broker", "mqtt://127.0.0.1:1")
    server.close()
    assert done.returncode == 1
    assert f"http 127.0.0.1:{port}" in done.stderr


def test_the_brokers_files_are_written(tmp_path: Path) -> None:
    file = write_hub(tmp_path, more='[broker]\naccounts = {hub = "hub.password", device-1 = "device.password"}\n')
    for name in ("hub", "device"):
        (tmp_path / f"{name}.password").write_text("secret\n")
    done = cloud_hub("broker", "config", "--config", str(file), "--out", str(tmp_path / "broker"))
    assert done.returncode == 0
    assert [Path(name).name for name in done.stdout.split()] == [
        "mosquitto.conf", "mosquitto.acl", "mosquitto.passwords",
    ]  # fmt: skip
    assert "device-1:$7$" in (tmp_path / "broker" / "mosquitto.passwords").read_text()


def test_a_users_messages_module_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "messages.py").write_text("")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = run(
        [sys.executable, "-c", "import sys; from cloud_hub.cli import main; sys.exit(main())", "--help"],
        capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": path}, cwd=tmp_path, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "hides Skerry's package 'messages'" in done.stderr
    assert "Traceback" not in done.stderr
