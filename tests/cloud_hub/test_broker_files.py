"""What the hub's broker is started with: configuration, access rules and passwords, to the letter."""

import base64
import stat
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cloud_hub.broker.files import (
    BrokerFiles,
    acl_text,
    check_password,
    conf_text,
    hash_password,
    passwords_text,
    write_broker_files,
)
from cloud_hub.broker.own import hub_access
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Disconnected
from messages.bus.settings import MqttSettings
from messages.channels import HUB, UP_SAMPLE, uplink
from tests.support.authority import Authority
from tests.support.brokers import broker_settings, mosquitto
from tests.support.events import first, take

FILES = BrokerFiles(Path("/b/mosquitto.conf"), Path("/b/mosquitto.acl"), Path("/b/mosquitto.passwords"))

ACL = """\
user hub
topic read farm/skerry/v1/+/up/#
topic write farm/skerry/v1/+/down/#

pattern write farm/skerry/v1/%u/up/#
pattern read farm/skerry/v1/%u/down/#
pattern read farm/skerry/v1/%u/in/+
pattern write farm/skerry/v1/%u/out/+
"""

CONF = """\
user root
per_listener_settings false
log_dest stderr
log_type error
log_type warning
persistence false
set_tcp_nodelay true
max_packet_size 1048576
max_inflight_messages 1000
max_inflight_bytes 33554432
max_queued_messages 1000000
max_queued_bytes 268435456
max_keepalive 120
listener 8883 0.0.0.0
certfile /c/hub.crt
keyfile /c/hub.key
allow_anonymous false
use_username_as_clientid true
password_file /b/mosquitto.passwords
acl_file /b/mosquitto.acl
"""


def test_each_node_has_its_own_topics_only() -> None:
    assert acl_text(BrokerSettings(namespace="farm")) == ACL


def test_the_configuration_is_what_was_measured() -> None:
    settings = BrokerSettings(
        listen="0.0.0.0", port=8883, accounts={HUB: "/p/hub"}, cert_file="/c/hub.crt", key_file="/c/hub.key"
    )
    assert conf_text(settings, FILES, user="root") == CONF


def test_without_accounts_anybody_on_this_machine_comes_in() -> None:
    lines = conf_text(BrokerSettings(), FILES).splitlines()
    assert lines[-2:] == ["listener 1883 127.0.0.1", "allow_anonymous true"]
    assert not [line for line in lines if line.startswith(("user", "acl_file", "password_file"))]


def test_a_password_is_hashed_as_mosquitto_passwd_does() -> None:
    made_by_it = (
        "$7$101$zW5Fp7jlOmG0fR9V$"
        "8vnFF5gNv8gTtcUE8yTwCIkwjkkJJiFPInrdAP1Mmd2B4Te9MKBiGXedcsQT9jiOHPR9j0/KQkWiQizY24DTZg=="
    )
    assert hash_password("secret of cam-1", base64.b64decode("zW5Fp7jlOmG0fR9V")) == made_by_it
    assert check_password("secret of cam-1", made_by_it)
    assert not check_password("secret of cam-2", made_by_it)
    assert passwords_text({HUB: "a", "cam-1": "b"}) == "hub:a\ncam-1:b\n"


def test_files_are_for_their_owner_only_and_written_anew(tmp_path: Path) -> None:
    settings = broker_settings(tmp_path, ["cam-1"])
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "mosquitto.passwords").write_text("old\n")
    (folder / "mosquitto.passwords").chmod(0o644)
    files = write_broker_files(settings, folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    lines = files.passwords.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [HUB, "cam-1"]
    assert "secret" not in files.passwords.read_text()


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    settings = broker_settings(tmp_path, ["cam-1"])
    Path(settings.accounts["cam-1"]).write_text("\n")
    with pytest.raises(ValueError, match="accounts.cam-1: .*cam-1.password is empty"):
        write_broker_files(settings, tmp_path / "broker")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"listen": "0.0.0.0"}, "listen '0.0.0.0': other machines can reach it, so it needs accounts"),
        ({"listen": "broker.example"}, "listen 'broker.example': other machines"),
        ({"cert_file": "a"}, "cert_file and key_file belong together"),
        ({"accounts": {"cam-1": "a"}}, "accounts: 'hub' is missing"),
        ({"accounts": {"hub": "a", "a/b": "b"}}, "accounts 'a/b': use 1 to 63"),
        ({"namespace": "a/#"}, "namespace 'a/#': use 1 to 63"),
    ],
)
def test_a_wrong_setting_is_named(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        BrokerSettings(**fields)
    assert text in str(caught.value)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_over_tls_with_accounts_a_sample_arrives(tmp_path: Path, protocol: str) -> None:
    authority = Authority(tmp_path)
    tls = {**authority.certify("hub"), "ca_file": authority.ca_file}
    async with mosquitto(tmp_path, nodes=["cam-1"], **tls) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        access = broker.client("cam-1", url=url, ca_file=authority.ca_file, protocol=protocol)
        own = hub_access(broker.settings)
        hub_bus = MqttBus(own, client_id=HUB, subscriptions=[uplink("default")], will=None, random=Random(1))
        async with hub_bus as hub, client(access) as node:
            assert await first(hub, Connected) == Connected("5")
            assert await first(node, Connected) == Connected(protocol)
            topic, sent = UP_SAMPLE.topic("default", "cam-1"), [b"%d" % number + bytes(20_000) for number in range(300)]
            for payload in sent:
                node.post(topic, payload)
            assert sorted([await take(hub) for _ in sent]) == sorted((topic, payload) for payload in sent)


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other authority")
    async with mosquitto(tmp_path, **authority.certify("hub")) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        async with client(broker.client(url=url, ca_file=other.ca_file)) as node:
            lost = await first(node, Disconnected)
    assert lost.refused
    assert "certificate" in lost.reason.lower()
    assert f"127.0.0.1:{broker.port}" in lost.reason


def client(settings: MqttSettings) -> MqttBus:
    return MqttBus(settings, client_id="cam-1", subscriptions=[], will=None, random=Random(1))
