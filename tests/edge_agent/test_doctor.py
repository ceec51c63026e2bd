"""`edge-agent doctor`: each broken set-up is found, with the words that a user needs. The words are pinned."""

import asyncio
import json
import re
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.config import HubSettings, Limits
from cloud_hub.hub import Hub
from cloud_hub.store.folder import opened
from edge_agent import doctor, storage
from edge_agent.config import AgentSettings
from edge_agent.core.trust import Trust
from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected
from messages.codec import encode_body
from messages.delivery.rows import Draft, Kind
from messages.desk import checkup
from messages.desk.findings import Finding, State
from messages.settings.read import ConfigError, load
from messages.shapes import Report
from tests.support.authority import Authority
from tests.support.brokers import RunningBroker, amqtt_broker, mosquitto
from tests.support.commands import agent
from tests.support.events import first, until
from tests.support.leftovers import AT, bury_reports, quarantine
from tests.support.messages import SIGNER
from tests.support.small_agent import JOB, write_agent
from tests.support.wishes import ROOT, desired, key_list, state

Put = Callable[[Path], Any]
"""Breaks what `write_agent` made in a folder; what it returns are options for `examine`."""

NOW = time.time_ns() // 1_000_000


def words(finding: Finding, folder: Path) -> tuple[str, str, str, str]:
    """A finding without the folder's name."""
    said = finding.problem.replace(str(folder), "."), finding.solution.replace(str(folder), ".")
    return (finding.name, finding.state.value, *said)


def text(more: str = "", mqtt: str = 'url = "mqtt://127.0.0.1:1"', jobs: str = JOB, node: str = "device-1") -> Put:
    """A config with these words in it."""
    return lambda folder: write_agent(folder, more=more, mqtt=mqtt, jobs=jobs, node=node) and {}


def file(name: str, content: str | bytes, mode: int = 0o600, **config: str) -> Put:
    """A file beside a config."""

    def put(folder: Path) -> None:
        text(**config)(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        (folder / name).chmod(mode)

    return put


def stored(fill: Callable[[Any], None]) -> Put:
    """A database with something in it."""

    def put(folder: Path) -> None:
        text()(folder)
        with storage.opened(folder / "data", full=False) as store:
            fill(store)

    return put


def waits_for_days(store: Any) -> None:
    body = encode_body(Report(event_id="", timestamp=AT, job="side", session=1, counters={}))
    draft = Draft(peer="hub", path="up/report", job="side", kind=Kind.REPORT, created=0.0, body=body)
    with store.transaction():
        store.put(draft)


def plugin(code: str, jobs: str) -> Put:
    return file("mine.py", code, jobs=jobs)


PASSWORD = 'url = "mqtt://127.0.0.1:1"\nusername = "device-1"\npassword_file = "password"'
SHOWS = "configs/agent.toml shows every setting"

BROKEN: dict[str, tuple[Put, tuple[str, str, str, str]]] = {
    "an unknown key": (
        text("beat = 3"),
        ("config", "fail", "./agent.toml:2: beat: unknown key; the nearest is 'beat_s'",
         "in ./agent.toml, write 'beat_s' or remove it"),
    ),
    "a value of another type": (
        text("beat_s = 'often'"),
        ("config", "fail", "./agent.toml:2: beat_s: expected float, got str", f"correct ./agent.toml; {SHOWS}"),
    ),
    "a missing key": (
        file("agent.toml", 'node = "a"\n'),
        ("config", "fail", "./agent.toml: mqtt: missing", f"add it to ./agent.toml; {SHOWS}"),
    ),
    "no TOML": (
        file("agent.toml", "node = "),
        ("config", "fail", "./agent.toml: not TOML: Invalid value (at end of document)",
         f"correct ./agent.toml; {SHOWS}"),
    ),
    "no file": (
        lambda folder: None,
        ("config", "fail", "./agent.toml: No such file or directory",
         "give --config the path of your file, or begin with a copy of configs/agent.toml"),
    ),
    "a name that no topic can hold": (
        text(node="my/device"),
        ("config", "fail",
         "node 'my/device': use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
         f"correct ./agent.toml; {SHOWS}"),
    ),
    "a password file that is not there": (
        text(mqtt=PASSWORD),
        ("config", "fail", "mqtt.password_file: ./password is not there, or may not be read",
         "correct the path in ./agent.toml, or let this user read the file"),
    ),
    "a password that all may read": (
        file("password", "secret", 0o644, mqtt=PASSWORD),
        ("mqtt.password_file", "warn", "./password can be read by everyone on this machine", "chmod o-rwx ./password"),
    ),
    "an empty password": (
        file("password", "\n", mqtt=PASSWORD),
        ("mqtt.password_file", "fail", "./password is empty", "write the password into it, in one line"),
    ),
    "a user's own messages module": (
        file("messages.py", ""),
        ("messages", "warn",
         "./messages.py has the name of Skerry's own package: a script that lies beside it gets the wrong one",
         "rename messages.py"),
    ),
    "a data folder that cannot be made": (
        file("busy", "", more='data_dir = "busy/data"'),
        ("data_dir", "fail", "data_dir ./busy/data: Not a directory",
         "let the user that runs the agent write to ./busy, or set another data_dir"),
    ),
    "a data folder with an impossible name": (
        text(f'data_dir = "{"x" * 300}"'),
        ("data_dir", "fail", f"data_dir ./{'x' * 300}: File name too long",
         "let the user that runs the agent write to ., or set another data_dir"),
    ),
    "a damaged database": (
        file("data/agent.db", b"no database at all" * 1000),
        ("database", "fail", "./data/agent.db: file is not a database",
         "move ./data/agent.db away: the agent makes a new one, and what was in it is lost; a backup may be put there"),
    ),
    "a full disk": (
        text("outbox.sample = {bytes = 4611686018427387904}"),
        ("disk", "fail", "",
         "make room on that disk, or lower outbox.sample.bytes and outbox.audit.bytes"),
    ),
    "a backlog that nobody takes": (
        stored(waits_for_days),
        ("outbox", "warn", "",
         "what the checks of broker, login and hub say comes first; nothing is lost meanwhile"),
    ),
    "an outbox that is nearly full": (
        lambda folder: (stored(waits_for_days)(folder), text("outbox.report = {rows = 1}")(folder)),
        ("outbox", "warn", "", "bring the hub back, or raise outbox.report in ./agent.toml"),
    ),
    "dead letters": (
        stored(lambda store: bury_reports(store, 2)),
        ("dead-letters", "warn", "", "edge-agent dead-letters list shows them; show, retry, drop act"),
    ),
    "bad bytes": (
        stored(lambda store: quarantine(store, 1)),
        ("quarantine", "warn", "", "edge-agent quarantine list shows them; show, drop act"),
    ),
    "no model": (
        text(jobs='[jobs.side]\nmodel = "gone.npz"\n'),
        ("job side", "fail", "jobs.side: model ./gone.npz: No such file or directory",
         "put the model there, or correct the path in ./agent.toml"),
    ),
    "a model that no engine runs": (
        file("big.pkl", "", jobs='[jobs.side]\nmodel = "big.pkl"\n'),
        ("job side", "fail",
         ("jobs.side: model ./big.pkl: no engine for '.pkl'; use .npz, .safetensors, .tflite, .onnx or"
          ' engine = "module:name"'),
         "convert the model to .tflite, .onnx, .npz or .safetensors, or write an engine of your own"),
    ),
    "a plug-in that is not there": (
        text(jobs=f'{JOB}source = "gone:frames"\n'),
        ("job side", "fail", "jobs.side.source = 'gone:frames': there is no module 'gone'",
         "put the module beside ./agent.toml, or install it"),
    ),
    "a plug-in without the function": (
        plugin("", f'{JOB}sink = "mine:show"\n'),
        ("job side", "fail", "jobs.side.sink = 'mine:show': module 'mine' has no 'show'",
         "write the name of a function or class that is in that module"),
    ),
    "a policy with an option that it does not have": (
        text(jobs=f'{JOB}policy = {{use = "threshold", treshold = 3}}\n'),
        ("job side", "fail", "", "write the options that it takes into its table in ./agent.toml"),
    ),
    "a policy that raises": (
        plugin("def rule():\n    return lambda value: 1 / 0\n", f'{JOB}policy = "mine:rule"\n'),
        ("job side", "fail", "a sample of zeros: job side: policy: ZeroDivisionError: division by zero (mine.py:2)",
         "correct jobs.side.model, engine or policy: no sample can be judged"),
    ),
    "a source of another shape": (
        plugin("import numpy\ndef frames():\n    yield numpy.zeros((2, 2))\n", f'{JOB}source = "mine:frames"\n'),
        ("job side", "fail", "a sample of its source: job side: takes float32[1], got float64[2, 2]",
         "let mine:frames yield float32[1], or name the model of its samples in jobs.side.model"),
    ),
    "a source that ends at once": (
        plugin("def frames():\n    return iter(())\n", f'{JOB}source = "mine:frames"\n'),
        ("job side", "fail", "a sample of its source: mine:frames: ended before its first sample",
         "correct mine:frames, or its options in jobs.side.source"),
    ),
    "nobody listens": (
        text(),
        ("broker", "fail", "127.0.0.1:1: nothing listens there", "start the broker, or correct mqtt.url"),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's module is another one each time, and no second client takes more than a moment to come back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(checkup, "WATCH_S", 0.6)


@pytest.mark.parametrize(("put", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_found_with_its_cure(tmp_path: Path, put: Put, expected: tuple[str, str, str, str]) -> None:
    put(tmp_path)
    found = [words(item, tmp_path) for item in doctor.examine(tmp_path / "agent.toml", sample=True)]
    same = [item for item in found if item[:2] == expected[:2]]
    assert [(*item[:2], item[2] if expected[2] else "", item[3]) for item in same] == [expected], found
    assert [item for item in found if item[1] == "fail" and item not in same and item[0] != "broker"] == []


async def examine(folder: Path, mqtt: str, more: str = "", **options: Any) -> list[tuple[str, str, str, str]]:
    """The findings of an agent with this `[mqtt]` table."""
    path = write_agent(folder, mqtt=mqtt, more=more)
    return [words(item, folder) for item in await asyncio.to_thread(doctor.examine, path, **options)]


def failed(found: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str]]:
    """The failed findings, without their state."""
    return [(name, problem, solution) for name, state, problem, solution in found if state == "fail"]


def login(broker: RunningBroker, user: str = "device-1", protocol: str = "auto") -> str:
    """An `[mqtt]` table."""
    return (f'url = "{broker.url}"\nusername = "{user}"\npassword_file = "{broker.passwords[user]}"\n'
            f'protocol = "{protocol}"')  # fmt: skip


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with mosquitto(tmp_path, nodes=["device-1", "other"]) as running:
        yield running


@asynccontextmanager
async def hub(broker: RunningBroker, folder: Path, namespace: str = "default") -> AsyncIterator[Hub]:
    """A real hub on a real broker, connected."""
    settings = HubSettings(data_dir=str(folder / "hub"), limits=Limits(disk_reserve=0), namespace=namespace)
    with opened(folder / "hub", quarantine_rows=9, dead_rows=9) as store:
        up = [channels.uplink(namespace)]
        bus = MqttBus(broker.client(), client_id="hub", subscriptions=up, will=None, random=Random(1))
        running = Hub(settings, store, bus, folder=folder)
        task = asyncio.create_task(running.run(), name="hub")
        try:
            await until(lambda: not running.health.broker, within_s=10.0)
            yield running
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_a_healthy_agent_has_nothing_wrong_and_leaves_no_trace(tmp_path: Path, broker: RunningBroker) -> None:
    (tmp_path / "device-1.password").chmod(0o600)
    async with hub(broker, tmp_path) as running:
        found = await examine(tmp_path, login(broker))
        assert [item for item in found if item[1] != "ok"] == []
        assert {"address", "broker", "login", "subscription", "publish", "second client", "hub"} <= {
            i[0] for i in found
        }
        assert not (tmp_path / "data").exists()
        await until(lambda: bool(running.store.nodes()) and not running.store.nodes()[0].online, within_s=10.0)
        assert [node.name for node in running.store.nodes()] == ["device-1"]


def test_whom_the_agent_trusts_is_shown(tmp_path: Path) -> None:
    def note(more: str = "") -> str:
        path = write_agent(tmp_path, mqtt='url = "mqtt://127.0.0.1:1"', more=more)
        return next(item.note for item in doctor.examine(path) if item.name == "trust")

    root = f'[trust]\nroot = ["{ROOT.public}"]\n'
    assert note() == "nobody: no key stands under [trust]"
    assert note(f'[trust]\nkeys = ["{SIGNER.public}"]\n') == f"release key {SIGNER.public.id}"
    assert note(root) == f"root {ROOT.public.id}; no key list of it has come yet"
    with storage.opened(tmp_path / "data", full=False) as store:
        trust = Trust(store, "default", keys=(), roots=(ROOT.public,))
        trust.learn(desired(state(1), **key_list(4)))
    assert note(root) == f"root {ROOT.public.id}; key list of epoch 4: release key {SIGNER.public.id}"
    assert note(root.replace(str(ROOT.public), str(SIGNER.public))).endswith("no key list of it has come yet")


async def test_what_waits_is_left_as_it_is(tmp_path: Path, broker: RunningBroker) -> None:
    stored(waits_for_days)(tmp_path)
    async with hub(broker, tmp_path) as running:
        found = await examine(tmp_path, login(broker))
        (node,) = running.store.nodes()
    assert failed(found) == []
    with storage.opened(tmp_path / "data", full=False) as store:
        assert (store.totals(Kind.REPORT).rows, node.status.backlog_rows) == (1, 1)
        assert store.recall("session") == node.status.session


async def test_a_hub_whose_clock_is_another(tmp_path: Path, broker: RunningBroker) -> None:
    async with hub(broker, tmp_path):
        found = await examine(tmp_path, login(broker), now=lambda: time.time_ns() // 1_000_000 + 7_200_000)
    (clock,) = [item for item in found if item[0] == "hub's clock"]
    assert re.fullmatch(r"this clock is 7\d\d\d s ahead of the hub's", clock[2])
    assert clock[3] == "let NTP keep both clocks: timedatectl set-ntp true"


async def test_a_hub_in_another_namespace_does_not_greet(tmp_path: Path, broker: RunningBroker) -> None:
    cure = ("start the hub on this broker, with the same namespace; if it runs, the broker's ACL keeps something from"
            " one of them without a word: `cloud-hub broker config` writes its rules")  # fmt: skip
    silent = [("hub", "no hub greets this node in namespace 'default'", cure)]
    async with hub(broker, tmp_path, namespace="another"):
        assert failed(await examine(tmp_path, login(broker))) == silent
        assert failed(await examine(tmp_path, login(broker, "other", protocol="3.1.1"))) == silent


async def test_a_wrong_password_and_none(tmp_path: Path, broker: RunningBroker) -> None:
    (tmp_path / "wrong").write_text("wrong")
    mqtt = f'url = "{broker.url}"\nusername = "device-1"\npassword_file = "wrong"'
    end = broker.url.removeprefix("mqtt://")
    assert failed(await examine(tmp_path, mqtt)) == [
        ("login", f"device-1@{end}: Not authorized",
         "correct the password in mqtt.password_file, or give 'device-1' an account at the broker"),
    ]  # fmt: skip
    assert failed(await examine(tmp_path, f'url = "{broker.url}"')) == [
        ("login", f"{end}: Not authorized", "this broker wants a login: set mqtt.username and mqtt.password_file"),
    ]


ACL = "log in as 'device-1' (mqtt.username), or grant it the topic: `cloud-hub broker config` writes such rules"


async def test_topics_of_another_node(tmp_path: Path, broker: RunningBroker) -> None:
    assert failed(await examine(tmp_path, login(broker, "other"))) == [
        ("publish", "the broker denies default/skerry/v1/device-1/up/status: Not authorized", ACL)
    ]


async def test_a_subscription_that_a_broker_denies(tmp_path: Path) -> None:
    async with amqtt_broker(tmp_path, nodes=["device-1", "other"]) as broker:
        (denied, *_) = failed(await examine(tmp_path, login(broker, "other", protocol="3.1.1")))
    said = "the broker denies default/skerry/v1/device-1/down/#: subscription: Unspecified error"
    assert denied == ("subscription", said, ACL)


async def test_a_second_client_with_the_same_name(tmp_path: Path, broker: RunningBroker) -> None:
    settings = broker.client("device-1")
    async with MqttBus(settings, client_id="device-1", subscriptions=[], will=None, random=Random(1)) as twin:
        await first(twin, Connected)
        found = failed(await examine(tmp_path, login(broker)))
    ((name, said, cure),) = found
    assert (name, said.partition(" (")[0]) == (
        "second client", "cut off right after the login, most likely by a second client named 'device-1'",
    )  # fmt: skip
    assert cure == "stop the other program, or give each a name and account of its own"


async def test_a_broker_that_takes_connections_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "LOGIN_S", 0.5)
    monkeypatch.setattr(checkup, "PATIENCE_S", 0.5)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    end = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        found = failed(await examine(tmp_path, f'url = "mqtt://{end}"'))
    assert found == [
        ("login", f"{end}: takes the connection, and does not answer a login", "see the broker's own log: it says why")
    ]


async def test_a_name_without_an_address(tmp_path: Path) -> None:
    ((name, said, cure),) = failed(await examine(tmp_path, 'url = "mqtt://no.such.host.invalid"'))
    assert (name, said.partition(":")[0]) == ("address", "the name 'no.such.host.invalid' has no address")
    assert cure == "correct mqtt.url, or repair the name service (DNS, /etc/hosts)"


CERTIFICATES = {
    "expired": (
        {"days": (-2, -1)},
        "has expired",
        "renew the broker's certificate; if it has not, set this machine's clock",
    ),
    "too new": (
        {"days": (1, 2)},
        "is not valid yet",
        "set this machine's clock, or have the broker's certificate made anew",
    ),
    "another's": (
        {"address": "127.0.0.2"},
        "is for another address",
        "write the name that stands in the certificate into mqtt.url",
    ),
}


@pytest.mark.parametrize(("options", "said", "cure"), CERTIFICATES.values(), ids=CERTIFICATES.keys())
async def test_a_certificate_that_is_not_good(tmp_path: Path, options: dict[str, Any], said: str, cure: str) -> None:
    authority = Authority(tmp_path)
    async with mosquitto(tmp_path, **authority.certify("broker", **options)) as broker:
        end = f"127.0.0.1:{broker.port}"
        found = failed(await examine(tmp_path, f'url = "mqtts://{end}"\nca_file = "{authority.ca_file}"'))
    assert [(name, words.partition(" (")[0], cured) for name, words, cured in found] == [
        ("tls", f"the certificate of {end} {said}", cure)
    ]


async def test_an_unknown_authority_no_authority_and_no_tls(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    async with mosquitto(tmp_path, **Authority(tmp_path).certify("broker")) as broker:
        end = f"127.0.0.1:{broker.port}"
        ((_, unknown, cure),) = failed(await examine(tmp_path, f'url = "mqtts://{end}"'))
        ((_, none, _),) = failed(await examine(tmp_path, f'url = "mqtts://{end}"\nca_file = "ca.pem"'))
        plain = failed(await examine(tmp_path, f'url = "mqtt://{end}"'))
    assert unknown.partition(" (")[0] == f"the certificate of {end} is signed by nobody that this machine trusts"
    assert cure == "name the certificate of the authority that signed it in mqtt.ca_file"
    assert none.startswith("ca_file ./ca.pem: ")
    assert [(name, cure) for name, _, cure in plain] == [("login", "TLS is spoken there: write mqtts:// in mqtt.url")]


async def test_tls_to_a_port_without(tmp_path: Path, broker: RunningBroker) -> None:
    end = f"127.0.0.1:{broker.port}"
    assert failed(await examine(tmp_path, f'url = "mqtts://{end}"')) == [
        ("tls", f"{end}: no TLS is spoken there", "write mqtt:// in mqtt.url, or the broker's port for TLS")
    ]


async def test_the_devices_own_broker_for_its_apps(tmp_path: Path, broker: RunningBroker) -> None:
    apps = 'apps = {broker = "mqtt://127.0.0.1:1"}'
    found = failed(await examine(tmp_path, login(broker), apps))
    assert ("apps broker", "127.0.0.1:1: nothing listens there", "start the broker, or correct apps.broker") in found
    found = failed(await examine(tmp_path, login(broker), f'apps = {{broker = "{broker.url}"}}'))
    cure = "this broker wants a login: set apps.username and apps.password_file"
    assert ("apps login", f"127.0.0.1:{broker.port}: Not authorized", cure) in found


async def test_a_running_agent_is_left_alone(tmp_path: Path, broker: RunningBroker) -> None:
    with storage.opened(tmp_path / "data", full=False):
        found = await examine(tmp_path, login(broker, "other"))
    assert failed(found) == []
    assert "login" not in [item[0] for item in found]


def test_a_database_that_another_program_holds(tmp_path: Path) -> None:
    stored(waits_for_days)(tmp_path)
    with closing(sqlite3.connect(tmp_path / "data" / "agent.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        found = [words(item, tmp_path) for item in doctor.examine(tmp_path / "agent.toml")]
    cure = "end the other program that has it open (a backup, a sqlite3 shell)"
    assert ("database", "fail", "./data/agent.db: database is locked", cure) in found


@pytest.mark.parametrize(
    ("now", "said"), [(0, "it was never set"), (AT, "agent.toml was written at")], ids=["1970", "before the config"]
)
def test_a_clock_that_is_wrong(tmp_path: Path, now: int, said: str) -> None:
    found = doctor.examine(write_agent(tmp_path), now=lambda: now)
    (clock,) = [item for item in found if item.name == "clock"]
    assert (clock.state, said in clock.problem) == (State.FAIL, True)
    assert clock.solution == "set the clock, and let NTP keep it: timedatectl set-ntp true"


def test_packages_that_are_missing_or_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version, needs in (("skerry", "0.1.0", ["aiomqtt<3,>=2.5", "none-such>=1"]), ("aiomqtt", "1.2", [])):
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {need}" for need in needs]
        (tmp_path / f"{name}-{version}.dist-info" / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.examine(write_agent(tmp_path))[0]
    said = "aiomqtt 1.2 is installed, and aiomqtt<3,>=2.5 is needed; none-such is not installed"
    assert (found.problem, found.solution) == (said, f"pip install --upgrade 'skerry' into {sys.prefix}")


def test_a_variable_of_no_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKERRY_MQQT__URL", "mqtt://x")
    found = doctor.examine(write_agent(tmp_path))[-1]
    assert (found.name, found.problem) == ("environment", "SKERRY_MQQT__URL: mqqt: unknown key; the nearest is 'mqtt'")
    assert found.solution == "in the variable SKERRY_MQQT__URL, write 'mqtt' or remove it"


def test_the_command_prints_problem_and_solution_and_ends_with_1(tmp_path: Path) -> None:
    plugin("print('loud')\ndef show(x): pass\n", f'{JOB}sink = "mine:show"\n')(tmp_path)
    done = agent("doctor", "--config", tmp_path / "agent.toml")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "fail  broker    127.0.0.1:1: nothing listens there",
        "                -> start the broker, or correct mqtt.url",
    ]
    found = json.loads(agent("doctor", "--config", tmp_path / "agent.toml", "--json").stdout)
    assert found[-1]["state"] == "fail"
    assert agent("doctor", "--config", tmp_path / "none.toml").returncode == 1


@given(st.text())
def test_no_settings_break_the_doctor(tmp_path_factory: pytest.TempPathFactory, words: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any-agent.toml"
    path.write_text(words)
    assert [item.name for item in doctor.examine(path) if item.problem] == ["config"] * words_of(path)


def words_of(path: Path) -> int:
    """How many lines reading the settings complains with."""
    with pytest.raises(ConfigError) as caught:
        load(path, AgentSettings, environ={})
    return len(str(caught.value).splitlines())
