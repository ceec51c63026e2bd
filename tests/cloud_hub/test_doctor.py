"""`cloud-hub doctor`: each broken set-up is found, with the words that a user needs. The words are pinned."""

import asyncio
import json
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
from msgspec import structs

from cloud_hub import doctor
from cloud_hub.store.database import HubDatabase
from cloud_hub.store.folder import opened
from cloud_hub.store.protocol import NodeRecord
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected
from messages.desk import checkup
from messages.desk.findings import Finding
from messages.shapes import NodeStatus
from tests.support.authority import Authority
from tests.support.big_models import write_models
from tests.support.brokers import RunningBroker, mosquitto
from tests.support.commands import hub
from tests.support.events import first
from tests.support.leftovers import bury_answer, quarantine
from tests.support.ports import free_port

Put = Callable[[Path], Any]
"""Breaks a folder that holds a hub."""

NOW = time.time_ns() // 1_000_000
DIGITS = '[jobs.digits]\npredictor = "big:sides"\ninput = {dtype = "float32", shape = [2]}\n'


def write_hub(folder: Path, *, jobs: str = "", more: str = "", reserve: int = 0) -> Path:
    write_models(folder)
    file = folder / "hub.toml"
    broker = "" if "[mqtt]" in more or "[broker]" in more else f"[broker]\nport = {free_port()}\n"
    http = "" if "[http]" in more else "[http]\nport = 0\n"
    file.write_text(f"{more}\n{broker}{http}[limits]\ndisk_reserve = {reserve}\n{jobs}")
    return file


def text(more: str = "", jobs: str = "", reserve: int = 0) -> Put:
    return lambda folder: write_hub(folder, jobs=jobs, more=more, reserve=reserve)


def file(name: str, content: bytes, mode: int = 0o600, more: str = "", jobs: str = "") -> Put:
    def put(folder: Path) -> None:
        write_hub(folder, more=more, jobs=jobs)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)

    return put


def stored(fill: Callable[[HubDatabase], None]) -> Put:
    def put(folder: Path) -> None:
        write_hub(folder)
        with opened(folder / "data", quarantine_rows=9, dead_rows=9) as store:
            fill(store)

    return put


def node(name: str, *, skew_ms: int = 0, **status: Any) -> Callable[[HubDatabase], None]:
    """A node that was heard of just now."""

    def fill(store: HubDatabase) -> None:
        known = NodeStatus(event_id="s", timestamp=NOW + skew_ms, state="online", session=1)
        with store.transaction():
            store.save_node(NodeRecord(name, structs.replace(known, **status), NOW, online=True))

    return fill


def newer(store: HubDatabase) -> None:
    row = store.connection.execute("SELECT max(id) FROM _sqlite_migrations WHERE migration_set = 'hub'").fetchone()
    store.connection.execute("UPDATE _sqlite_migrations SET name = '0999_later' WHERE id = ?", row)


SHOWS = "configs/hub.toml shows every setting"
ACCOUNT = '[broker]\naccounts = {hub = "password"}\n'

BROKEN: dict[str, tuple[Put, tuple[str, str, str, str]]] = {
    "an unknown key": (
        text("nmespace = 'x'"),
        ("config", "fail", "./hub.toml:1: nmespace: unknown key; the nearest is 'namespace'",
         "in ./hub.toml, write 'namespace' or remove it"),
    ),
    "a model that is not there": (
        text(jobs='[jobs.digits]\npredictor = "big:sides"\nmodel = "gone.pt"\n'),
        ("config", "fail", "jobs.digits.model: ./gone.pt is not there, or may not be read",
         "correct the path in ./hub.toml, or let this user read the file"),
    ),
    "a password that all may read": (
        file("password", b"secret", 0o644, ACCOUNT),
        ("broker.accounts.hub", "warn", "./password can be read by everyone on this machine", "chmod o-rwx ./password"),
    ),
    "an empty password": (
        file("password", b"", 0o600, ACCOUNT),
        ("broker.accounts.hub", "fail", "./password is empty", "write the password into it, in one line"),
    ),
    "a data folder that cannot be made": (
        file("busy", b"", more='data_dir = "busy/data"'),
        ("data_dir", "fail", "data_dir ./busy/data: Not a directory",
         "let the user that runs the hub write to ./busy, or set another data_dir"),
    ),
    "a release key that others may read": (
        file("data/keys/release.key", b"ed25519-private:" + b"00" * 32, 0o644),
        ("release key", "fail", "./data/keys/release.key: others on this machine can read or write it",
         "chmod 600 ./data/keys/release.key"),
    ),
    "a damaged release key": (
        file("data/keys/release.key", b"nothing"),
        ("release key", "fail", "",
         "put its backup there; without one, remove it, and `cloud-hub keys rotate --root FILE --epoch N`"),
    ),
    "a damaged database": (
        file("data/hub.db", b"no database at all" * 1000),
        ("database", "fail", "./data/hub.db: file is not a database",
         "move ./data/hub.db away: the hub makes a new one, and what was in it is lost; a backup may be put there"),
    ),
    "a database of a later version": (
        stored(newer),
        ("database", "fail",
         "./data/hub.db: a later version of the hub has written it (it knows 0999_later): install that version",
         "pip install --upgrade 'skerry[hub]', or use another data_dir"),
    ),
    "a full disk": (
        text(reserve=1 << 62),
        ("disk", "fail", "", "make room on that disk, or lower limits.disk_reserve"),
    ),
    "dead letters": (
        stored(bury_answer),
        ("dead-letters", "warn", "", "cloud-hub dead-letters list shows them; show, retry, drop act"),
    ),
    "bad bytes": (
        stored(lambda store: quarantine(store, 2)),
        ("quarantine", "warn", "", "cloud-hub quarantine list shows them; show, drop act"),
    ),
    "a node whose clock is wrong": (
        stored(node("cam-1", skew_ms=-7_200_000)),
        ("nodes' clocks", "warn", "far from this machine's: cam-1 (-7200 s)", "let NTP keep the clocks of both ends"),
    ),
    "a job that only nodes know": (
        stored(node("cam-1", releases={"faces": "d"})),
        ("jobs of nodes", "warn",
         "not in ./hub.toml: job 'faces' of cam-1; what is hard there waits at the nodes",
         "add [jobs.faces] to ./hub.toml, or correct the job's name in agent.toml"),
    ),
    "a predictor's module that is not there": (
        text(jobs='[jobs.digits]\npredictor = "gone:load"\n'),
        ("job digits", "fail", "gone:load: ModuleNotFoundError: No module named 'gone'",
         "put the module into ., or install it"),
    ),
    "a predictor that is not in its module": (
        text(jobs='[jobs.digits]\npredictor = "big:gone"\n'),
        ("job digits", "fail", "big:gone: AttributeError: module 'big' has no attribute 'gone'",
         "write module:name of a factory that is in that module into jobs.digits.predictor"),
    ),
    "a model that does not load": (
        file("mine.py", b"def load(model):\n    raise ValueError('no weights')\n",
             jobs=DIGITS.replace("big:sides", "mine:load")),
        ("job digits", "fail", "mine:load: ValueError: no weights (mine.py:2)",
         "correct jobs.digits.predictor or model: the hub starts its workers just so"),
    ),
    "a model that takes too long": (
        text(jobs=DIGITS.replace("sides", "slow") + "timeout_s = 0.3\n"),
        ("job digits", "fail", "big:slow: a batch of 1 took longer than 0.3 s",
         "raise jobs.digits.load_timeout_s or timeout_s, or take a smaller model"),
    ),
    "a model for other samples": (
        file("mine.py", b"def load(model):\n    return lambda batch: 1 / 0\n",
             jobs=DIGITS.replace("big:sides", "mine:load")),
        ("job digits", "fail",
         "mine:load: a sample of zeros (float32[2]): ZeroDivisionError: division by zero (mine.py:2)",
         "correct jobs.digits.input, model or predictor: no sample can be answered"),
    ),
    "nobody listens": (
        text('[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'),
        ("broker", "fail", "127.0.0.1:1: nothing listens there", "start the broker, or correct mqtt.url"),
    ),
}  # fmt: skip


def words(finding: Finding, folder: Path) -> tuple[str, str, str, str]:
    """A finding without the folder's name."""
    said = finding.problem.replace(str(folder), "."), finding.solution.replace(str(folder), ".")
    return (finding.name, finding.state.value, *said)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "WATCH_S", 0.6)


@pytest.mark.parametrize(("put", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_found_with_its_cure(tmp_path: Path, put: Put, expected: tuple[str, str, str, str]) -> None:
    put(tmp_path)
    found = [words(item, tmp_path) for item in doctor.examine(tmp_path / "hub.toml")]
    assert [(*item[:2], item[2] if expected[2] else "", item[3]) for item in found if item[1] != "ok"] == [expected]


async def examine(path: Path) -> list[tuple[str, str, str]]:
    """What failed."""
    found = [words(item, path.parent) for item in await asyncio.to_thread(doctor.examine, path)]
    return [(name, problem, solution) for name, state, problem, solution in found if state == "fail"]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with mosquitto(tmp_path, nodes=["device-1"]) as running:
        yield running


def login(broker: RunningBroker, user: str = "hub", password: str = "hub") -> str:
    return (f'[mqtt]\nurl = "{broker.url}"\nusername = "{user}"\n'
            f'password_file = "{broker.passwords[password]}"\n')  # fmt: skip


async def test_a_healthy_hub_has_nothing_wrong_and_leaves_no_trace(tmp_path: Path, broker: RunningBroker) -> None:
    path = write_hub(tmp_path, more=login(broker), jobs=DIGITS)
    (tmp_path / "hub.password").chmod(0o600)
    found = [words(item, tmp_path) for item in await asyncio.to_thread(doctor.examine, path)]
    assert [item for item in found if item[1] != "ok"] == []
    assert {"login", "subscription", "publish", "second client", "job digits"} <= {item[0] for item in found}
    assert not (tmp_path / "data").exists()
    own = await asyncio.to_thread(doctor.examine, write_hub(tmp_path))
    assert [item.name for item in own if item.name in ("broker", "mosquitto")] == ["broker", "mosquitto"]


def test_the_release_key_is_shown_with_what_vouches_for_it(tmp_path: Path) -> None:
    path = write_hub(tmp_path)
    said = []
    for words in ((), ("init", "--root", tmp_path / "root.key"), ("rotate", "--root", tmp_path / "root.key")):
        said.append(next(item.note for item in doctor.examine(path) if item.name == "release key"))
        assert hub("keys", *words, "--config", path).returncode == 0
    said.append(next(item.note for item in doctor.examine(path) if item.name == "release key"))
    assert said[0].endswith("release.key, to be made")
    assert [note.partition("; ")[2] for note in said[1:]] == [
        "no root vouches for it", "a root vouches for it, at epoch 1", "a root vouches for it, at epoch 2"
    ]  # fmt: skip


async def test_a_login_that_is_wrong_or_may_too_little(tmp_path: Path, broker: RunningBroker) -> None:
    end = broker.url.removeprefix("mqtt://")
    assert await examine(write_hub(tmp_path, more=login(broker, "hub", "device-1"))) == [
        ("login", f"hub@{end}: Not authorized",
         "correct the password in mqtt.password_file, or give 'hub' an account at the broker"),
    ]  # fmt: skip
    assert await examine(write_hub(tmp_path, more=login(broker, "device-1", "device-1"))) == [
        ("publish", "the broker denies default/skerry/v1/doctor/down/receipt: Not authorized",
         "log in as 'hub' (mqtt.username), or grant it the topic: `cloud-hub broker config` writes such rules"),
    ]  # fmt: skip


async def test_a_second_hub(tmp_path: Path, broker: RunningBroker) -> None:
    settings = broker.client()
    async with MqttBus(settings, client_id="hub", subscriptions=[], will=None, random=Random(1)) as twin:
        await first(twin, Connected)
        ((name, said, _),) = await examine(write_hub(tmp_path, more=login(broker)))
    assert name == "second client"
    assert said.startswith("cut off right after the login, most likely by a second client named 'hub' (")


def test_ports_that_others_have(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        path = write_hub(tmp_path, more=f"[http]\nport = {port}\n[broker]\nport = {port}\n")
        found = [words(item, tmp_path) for item in doctor.examine(path)]
    said = f"127.0.0.1:{port}: Address already in use"
    assert ("http", "fail", said, "choose another http.port, or 0 for none") in found
    assert ("broker", "fail", said, "choose another broker.port, or name that broker in [mqtt]") in found


def test_a_machine_without_mosquitto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "mosquitto_program", lambda: None)
    found = [words(item, tmp_path) for item in doctor.examine(write_hub(tmp_path))]
    said = "not on this machine: the embedded broker is for a first try only"
    assert ("mosquitto", "warn", said, "apt-get install mosquitto") in found
    tls = Authority(tmp_path).certify("broker")
    table = f'[broker]\ncert_file = "{tls["cert_file"]}"\nkey_file = "{tls["key_file"]}"\n'
    found = [words(item, tmp_path) for item in doctor.examine(write_hub(tmp_path, more=table))]
    said = "not on this machine, and the embedded broker has no TLS"
    assert ("mosquitto", "fail", said, "apt-get install mosquitto") in found


def test_a_certificate_with_another_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.certify("one")["cert_file"], authority.certify("two")["key_file"]
    table = f'[broker]\nport = {free_port()}\ncert_file = "{cert}"\nkey_file = "{key}"\n'
    found = [words(item, tmp_path) for item in doctor.examine(write_hub(tmp_path, more=table))]
    assert ("broker.cert_file", "fail", "./one.crt with ./two.key: KEY_VALUES_MISMATCH",
            "name a PEM certificate and the key that belongs to it") in found  # fmt: skip


def test_a_database_that_another_program_holds(tmp_path: Path) -> None:
    stored(bury_answer)(tmp_path)
    with closing(sqlite3.connect(tmp_path / "data" / "hub.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        found = [words(item, tmp_path) for item in doctor.examine(tmp_path / "hub.toml")]
    cure = "end the other program that has it open (a backup, a sqlite3 shell)"
    assert ("database", "fail", "./data/hub.db: database is locked", cure) in found


def test_beside_a_running_hub_nodes_that_share_a_name_are_seen(tmp_path: Path) -> None:
    """The hub's folder is held, and one of two nodes connects every few milliseconds."""
    begun, stop = Event(), Event()

    def connect(store: HubDatabase) -> None:
        session = 1
        while not stop.wait(0.02):
            session += 1
            node("twin", session=session)(store)
            begun.set()

    path = write_hub(tmp_path, jobs=DIGITS)
    with opened(tmp_path / "data", quarantine_rows=9, dead_rows=9) as store:
        node("calm")(store)
        thread = Thread(target=connect, args=(store,))
        thread.start()
        try:
            assert begun.wait(10.0)
            found = [words(item, tmp_path) for item in doctor.examine(path)]
        finally:
            stop.set()
            thread.join()
    assert [item for item in found if item[1] != "ok"] == [
        ("nodes' links", "warn", "connecting again and again within 0.6 s: twin",
         "look for a second device with the same `node` in its agent.toml; else the link"),
    ]  # fmt: skip
    assert "login" not in [item[0] for item in found]


def test_the_command_prints_problem_and_solution_and_ends_with_1(tmp_path: Path) -> None:
    path = write_hub(tmp_path, more='[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    done = hub("doctor", "--config", path)
    assert done.returncode == 1
    assert [line.split(maxsplit=2) for line in done.stdout.splitlines()[-2:]] == [
        ["fail", "broker", "127.0.0.1:1: nothing listens there"],
        ["->", "start", "the broker, or correct mqtt.url"],
    ]
    found = json.loads(hub("doctor", "--config", path, "--json").stdout)
    assert found[-1]["solution"] == "start the broker, or correct mqtt.url"
    assert hub("doctor", "--config", tmp_path / "none.toml").returncode == 1
    assert hub("doctor", "--config", write_hub(tmp_path)).returncode == 0
