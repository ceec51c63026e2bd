"""What can be wrong when a program starts: one clear line that names the thing, and then the right exit code, or
patience until a person has mended it, with nothing lost meanwhile."""

import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from cloud_hub.broker.files import acl_text
from cloud_hub.broker.settings import BrokerSettings
from scripts.demos.digits.audit import audit
from tests.support.brokers import RunningBroker, mosquitto
from tests.support.fleet import Disk, Fleet
from tests.support.ports import free_port
from tests.support.programs import NOBODY, PROGRAMS, ended, ends, running, says, stopped, write
from tests.support.running_hub import until
from tests.support.small_agent import JOB, write_agent

SAMPLES = 20


@pytest.mark.parametrize(
    ("program", "more", "words"),
    [
        ("agent", "nide = 'x'", ["agent.toml:2: nide: unknown key; the nearest is 'node'"]),
        ("hub", "[limits.answers]\nrow = 7", ["limits.answers.row: unknown key; the nearest is 'rows'"]),
        ("hub", "[jobs.big]\npredictor = 'big:make'\nmodel = 'big.pt'", ["jobs.big.model: ", "/big.pt is not there"]),
    ],
)
def test_a_config_that_cannot_be_used_is_78(tmp_path: Path, program: str, more: str, words: list[str]) -> None:
    write(program, tmp_path, more=more)
    line = ends(program, tmp_path, 78)
    assert all(word in line for word in words), line


def test_a_missing_model_is_78(tmp_path: Path) -> None:
    write("agent", tmp_path)
    (tmp_path / "small.npz").unlink()
    assert f"jobs.side: model {tmp_path}/small.npz: " in ends("agent", tmp_path, 78)


def test_a_source_of_another_shape_than_the_model_is_named_and_read_on(tmp_path: Path) -> None:
    write_agent(tmp_path, jobs=JOB + 'source = "mine:readings"\n')
    (tmp_path / "mine.py").write_text("import numpy as np\ndef readings():\n    yield np.zeros((8, 8), 'float32')\n")
    with running("agent", tmp_path) as agent:
        line = says(agent, "bad reading")
        assert "job side: source mine:readings: bad reading: job side: takes float32[1], got float32[8, 8]" in line
        assert "job side: source mine:readings has ended" in says(agent, "ended")
        stopped(agent)


@contextmanager
def busy() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_busy_port_is_1(tmp_path: Path) -> None:
    """Of the hub's own broker, for which it waits a little, and of its HTTP, which takes no broker with it."""
    own = free_port()
    with busy() as port:
        write("hub", tmp_path / "broker", more=f"[broker]\nport = {port}")
        write("hub", tmp_path / "http", more=f"[broker]\nport = {own}\n[http]\nport = {port}")
        with running("hub", tmp_path / "broker") as broker, running("hub", tmp_path / "http") as http:
            http_line, broker_line = ended(http, 1), ended(broker, 1)
    assert f"broker: 127.0.0.1:{port}: Address already in use; choose another port in [broker]" in broker_line
    assert f"http 127.0.0.1:{port}: " in http_line
    assert "address already in use" in http_line
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[http]\ntoken_file = "junk"', "http.token_file: {}/junk: "),
        ('[broker]\naccounts = {hub = "junk"}', "broker: accounts.hub: {}/junk: not UTF-8 text"),
    ],
)
def test_a_file_of_junk_is_1(tmp_path: Path, more: str, words: str) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    write("hub", tmp_path, more=more)
    assert words.format(tmp_path) in ends("hub", tmp_path, 1)


@pytest.mark.parametrize("key", ["password_file", "ca_file", "cert_file"])
def test_an_agent_names_a_file_of_junk_and_tries_again(tmp_path: Path, key: str) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    options = {"password_file": 'username = "x"', "ca_file": "", "cert_file": 'key_file = "junk"'}[key]
    url = NOBODY if key == "password_file" else NOBODY.replace("mqtt:", "mqtts:")
    write_agent(tmp_path, mqtt=f'url = "{url}"\n{options}\n{key} = "junk"')
    with running("agent", tmp_path) as agent:
        line = says(agent, " ERROR ")
        assert f"{url} refuses: cannot prepare the connection: {key} {tmp_path}/junk" in line
        stopped(agent)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "data")
    yield disk
    disk.unmount()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_read_only_disk_is_1_whether_it_is_new_or_not(tmp_path: Path, disk: Disk, program: str) -> None:
    write(program, tmp_path)
    remount(disk, "ro")
    assert f"data_dir {disk.folder}: Read-only file system" in ends(program, tmp_path, 1)
    remount(disk, "rw")
    with running(program, tmp_path) as process:
        says(process, "no connection")
        stopped(process)
    remount(disk, "ro")
    assert f"data_dir {disk.folder}: Read-only file system" in ends(program, tmp_path, 1)


def remount(disk: Disk, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk.folder)], check=True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk_is_1_whether_it_is_new_or_not(tmp_path: Path, disk: Disk, program: str) -> None:
    write(program, tmp_path)
    disk.fill()
    new = ends(program, tmp_path, 1)
    disk.free()
    with running(program, tmp_path) as process:
        says(process, "no connection")
        stopped(process)
    disk.fill()
    for line in (new, ends(program, tmp_path, 1)):
        assert f"{disk.folder}/{program}.db: " in line
        assert "full" in line


def test_an_agent_keeps_its_backlog_through_starts_on_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    """It runs where a killed one has left its journal, and ends where there is no room for a new one."""
    write_agent(tmp_path, jobs=JOB + 'keep = "every"\nsource = "mine:readings"\n')
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nimport numpy as np\n"
        "def readings():\n"
        f"    for n in range(0 if Path('no more').exists() else {SAMPLES}):\n"
        "        yield f'r{n}', np.array([0.05], 'float32')\n"
        "    Path('no more').touch()\n"
    )
    with running("agent", tmp_path) as agent:
        says(agent, "has ended")
        agent.kill()
    disk.fill()
    with running("agent", tmp_path) as agent:
        assert f" {SAMPLES} messages wait from before" in says(agent, "starts")
        says(agent, "has ended")
        stopped(agent)
    disk.free()
    with running("agent", tmp_path) as agent:
        assert f" {SAMPLES} messages wait from before" in says(agent, "starts")
        says(agent, "no connection")
        stopped(agent)
    disk.fill()
    assert f"{disk.folder}/agent.db: " in ends("agent", tmp_path, 1)
    disk.free()
    with running("agent", tmp_path) as agent:
        assert f" {SAMPLES} messages wait from before" in says(agent, "starts")
        stopped(agent)


async def test_a_wrong_password_names_broker_and_account_and_is_mended_without_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(tmp_path, nodes=["device-1"]))
        fleet = await at_work(stack, broker, tmp_path, ["device-1"])
        set_passwords(broker, "a guess of {}\n")
        for name in ("hub", "device-1"):
            await fleet.start(name)
        for name, link in fleet.links.items():
            await until(partial(said, fleet, name, f"{name}@127.0.0.1:{link.port}: Not authorized"))
            await until(partial(lambda link, tries: link.up.passed > tries, link, link.up.passed))
            (line,) = [line for line in fleet.log(name).splitlines() if " ERROR " in line]
            assert "trying again" in line
        set_passwords(broker, "secret of {}\n")
        await arrived(fleet)


async def test_a_denied_topic_is_told_on_both_versions_of_mqtt_and_loses_nothing(tmp_path: Path) -> None:
    """On MQTT 5 the broker says so. On 3.1.1 it says success, and only the missing receipts tell."""
    old, new = "device-1", "device-2"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(tmp_path, nodes=[old, new]))
        fleet = await at_work(stack, broker, tmp_path, [old, new])
        allow(broker, tmp_path, but=" write ")
        fleet.environment[old] = {"SKERRY_MQTT__PROTOCOL": "3.1.1"}
        for name in ("hub", old, new):
            await fleet.start(name)
        await until(partial(said, fleet, new, f"the broker denies default/skerry/v1/{new}/up/sample: Not authorized"))
        await until(partial(said, fleet, old, "though connected: the hub is away, or the broker's ACL swallows"))
        assert fleet.log(new).count("/up/sample: Not authorized") < SAMPLES
        for name in (old, new):
            assert waiting(fleet.folder / name) == SAMPLES
        allow(broker, tmp_path, but=" write default/skerry/v1/+/down")
        denials = [f"the broker denies default/skerry/v1/{name}/down/receipt: Not authorized" for name in (old, new)]
        await until(lambda: all(denial in fleet.log("hub") for denial in denials))
        sent = fleet.links[old].up.passed
        await until(lambda: fleet.links[old].up.passed > sent + 400 * SAMPLES)  # they are offered again and again
        for name in (old, new):
            assert waiting(fleet.folder / name) == SAMPLES
        allow(broker, tmp_path)
        await arrived(fleet)
        assert [fleet.log("hub").count(denial) for denial in denials] == [1, 1]


def set_passwords(broker: RunningBroker, text: str) -> None:
    """What the programs know; the broker is not asked."""
    for name, file in broker.passwords.items():
        Path(file).write_text(text.format(name))


def said(fleet: Fleet, name: str, words: str) -> bool:
    """Whether these words are in a log."""
    return words in fleet.log(name)


def final(fleet: Fleet, name: str) -> bool:
    """Whether all of a device's samples have their final answers."""
    return sum(not p["provisional"] for p in fleet.predictions(name)) == SAMPLES


async def at_work(stack: AsyncExitStack, broker: RunningBroker, folder: Path, devices: list[str]) -> Fleet:
    """A hub and agents with a few samples, all configured and none started."""
    fleet = Fleet(folder, broker, devices)
    await fleet.set_up(stack, count=SAMPLES, interval_s=0.01, disks=False)
    return fleet


def allow(broker: RunningBroker, folder: Path, *, but: str = "nothing") -> None:
    """Let the broker have the generated access rules without those lines."""
    rules = [line for line in acl_text(BrokerSettings()).splitlines(keepends=True) if but not in line]
    (folder / "broker" / "mosquitto.acl").write_text("".join(rules))
    os.kill(broker.pid, signal.SIGHUP)


async def arrived(fleet: Fleet) -> None:
    """Every sample of every device has its final answer, the books close, and nothing stopped or stumbled."""
    for name in fleet.devices:
        await until(partial(final, fleet, name))
    await until(lambda: audit(fleet.folder)["waiting"] == 0)
    assert set((await fleet.stop()).values()) == {0}
    books = audit(fleet.folder)
    assert books | {"samples": 0, "answers": 0} == dict.fromkeys(books, 0)
    assert books["samples"] == SAMPLES * len(fleet.devices)
    assert not any("Traceback" in fleet.log(name) for name in ("hub", *fleet.devices))


def waiting(folder: Path) -> int:
    """How many samples are in an agent's outbox."""
    with closing(sqlite3.connect(folder / "data" / "agent.db")) as database:
        return int(database.execute("SELECT count(*) FROM outbox WHERE kind = 'sample'").fetchone()[0])
