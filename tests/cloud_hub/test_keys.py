"""`cloud-hub keys`, the files that it writes, and a hub that runs beside it."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec import structs

from cloud_hub import keys
from cloud_hub.keys import FILE, Keyring, ReleaseKey, release_key, root_key, vouch
from messages import channels
from messages.bus.memory import MemoryBroker
from messages.codec import decode
from messages.host.folder import FolderError
from messages.shapes import Desired, DesiredState, Receipt
from messages.signing import KEYS, KeyList, Signer, problem, public_key
from tests.support.commands import cloud_hub
from tests.support.running_hub import Node, hub, node, until

WANTED = KeyList(namespace="default", epoch=1, keys=("",))


def rooted(folder: Path) -> tuple[Path, Signer]:
    """A hub's release key for which a root vouches, at epoch 1."""
    file = folder / "data" / FILE
    root = root_key(folder / "root.key", make=True)
    vouch(release_key(file).file, root, WANTED, renew=False)
    return file, root


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_key_is_made_once_for_the_hubs_user_alone(tmp_path: Path) -> None:
    line = cloud_hub(tmp_path, "keys")
    assert line == cloud_hub(tmp_path, "keys")
    told = json.loads(cloud_hub(tmp_path, "keys", "--json"))
    assert line == f'keys = ["{told["keys"][0]}"]\n'
    assert (told["root"], told["epoch"]) == ([], 0)
    file = tmp_path / "data" / FILE
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert [path.name for path in file.parent.iterdir()] == ["release.key"]
    signer = release_key(file).signer
    public = public_key(told["keys"][0], "keys[0]")
    assert problem(b"state", [signer.sign(b"state")], {public.id: public}) == ""


def test_a_root_is_made_once_vouches_for_the_key_and_is_what_nodes_are_told(tmp_path: Path) -> None:
    before = cloud_hub(tmp_path, "keys")
    line = cloud_hub(tmp_path, "keys", "init", "--root", tmp_path / "root.key")
    root = root_key(tmp_path / "root.key").public
    assert line == f'root = ["{root}"]\n'
    assert line == cloud_hub(tmp_path, "keys") == cloud_hub(tmp_path, "keys", "init", "--root", tmp_path / "root.key")
    assert mode(tmp_path / "root.key") == 0o600
    found = release_key(tmp_path / "data" / FILE)
    assert (str(found.signer.public), found.epoch) == (before.split('"')[1], 1)
    signing = found.signing
    assert problem(signing.key_list, signing.signatures, {root.id: root}, KEYS) == ""
    assert decode(KeyList, signing.key_list).keys == (str(found.signer.public),)
    assert str(root) not in (tmp_path / "root.key").read_text()


def test_a_rotation_makes_another_key_one_epoch_higher(tmp_path: Path) -> None:
    file, _ = rooted(tmp_path)
    before = release_key(file)
    said = cloud_hub(tmp_path, "keys", "rotate", "--root", tmp_path / "root.key")
    after = release_key(file)
    assert said == f"epoch 2: release key {after.signer.public.id}, no longer {before.signer.public.id}\n"
    assert after.signer.public != before.signer.public
    assert (after.epoch, mode(file)) == (2, 0o600)
    told = json.loads(cloud_hub(tmp_path, "keys", "rotate", "--root", tmp_path / "root.key", "--epoch", 9, "--json"))
    assert told == {"id": release_key(file).signer.public.id, "epoch": 9}


def test_the_list_names_roles_files_and_the_nodes_epochs(tmp_path: Path) -> None:
    assert (
        "no root vouches for the release key" in (cloud_hub(tmp_path, "keys"), cloud_hub(tmp_path, "keys", "list"))[1]
    )
    file, root = rooted(tmp_path)
    told = json.loads(cloud_hub(tmp_path, "keys", "list", "--json"))
    assert [(row["role"], row["file"]) for row in told["keys"]] == [("release", str(file)), ("root", "")]
    assert (told["epoch"], told["nodes"]) == (1, {})
    assert root.public.id in cloud_hub(tmp_path, "keys", "list")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("keys", "rotate", "--root", "{}/root.key", "--epoch", "1"), 2, "--epoch 1: the key list has epoch 1"),
        (("keys", "rotate", "--root", "{}/other.key"), 2, "other.key holds another root than the one that vouches"),
        (("keys", "init", "--root", "{}/other.key"), 2, "to go over to that in"),
        (("keys", "rotate", "--root", "{}/nowhere"), 1, "nowhere: No such file or directory"),
        (("keys", "init", "--root", "{}/no/folder", "--epoch", "2"), 1, "no/folder: No such file or directory"),
        (("keys", "rotate", "--root", "{}/hub.toml"), 1, "hub.toml: others on this machine can read"),
    ],
)
def test_mistakes_are_told_and_change_nothing(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    file, _ = rooted(tmp_path)
    root_key(tmp_path / "other.key", make=True)
    before = file.read_bytes()
    assert said in cloud_hub(tmp_path, *(word.format(tmp_path) for word in words), code=code)
    assert file.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()


def test_without_a_root_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    root_key(tmp_path / "root.key", make=True)
    assert "cloud-hub keys init --root" in cloud_hub(
        tmp_path, "keys", "rotate", "--root", tmp_path / "root.key", code=2
    )


def test_a_lost_key_file_and_a_lost_root_are_replaced_by_naming_an_epoch(tmp_path: Path) -> None:
    file, _ = rooted(tmp_path)
    file.unlink()
    cloud_hub(tmp_path, "keys", "rotate", "--root", tmp_path / "root.key", "--epoch", 2)
    assert release_key(file).epoch == 2
    cloud_hub(tmp_path, "keys", "init", "--root", tmp_path / "new.key", "--epoch", 3)
    found = release_key(file)
    assert found.vouched is not None
    assert (found.epoch, found.vouched.root) == (3, str(root_key(tmp_path / "new.key").public))


@pytest.mark.parametrize("content", ["", "ed25519-private:00", "no key", "ed25519-private:é"])
def test_a_damaged_key_is_named_and_never_replaced(tmp_path: Path, content: str) -> None:
    file = tmp_path / "release.key"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(FolderError, match=r"release.key: holds no key"):
        release_key(file)
    assert file.read_text() == content


def test_a_key_list_that_does_not_belong_to_the_key_is_refused(tmp_path: Path) -> None:
    file, _ = rooted(tmp_path)
    key, text = file.read_text().split("\n")
    for other, said in (
        (f"ed25519-private:{'00' * 32}\n{text}", "does not vouch for its key: it names others"),
        (f"{key}\n{text.replace('key_list', 'list')}", "its key list cannot be read"),
        (f"{key}\n{text[:-9]}", "its key list cannot be read"),
        (f"{key}\n{text.replace(json.loads(text)['root'], str(Signer(bytes(32)).public))}", "which is not trusted"),
    ):
        file.write_text(other)
        with pytest.raises(FolderError, match=said):
            release_key(file)


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o602])
def test_a_key_that_others_can_read_or_write_is_refused_with_the_cure(tmp_path: Path, wrong: int) -> None:
    file, _ = rooted(tmp_path)
    for each in (file, tmp_path / "root.key"):
        each.chmod(wrong)
        with pytest.raises(FolderError, match=f"can read or write it: chmod 600 {each}"):
            release_key(each)


def test_a_credential_of_systemd_goes_before_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = rooted(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert keys.place(tmp_path / "data") == file
    credential = tmp_path / "credentials" / "release.key"
    credential.parent.mkdir()
    file.rename(credential)
    assert keys.place(tmp_path / "data") == credential
    credential.chmod(0o440)  # so systemd shows what an access list allows
    assert release_key(credential).epoch == 1
    credential.chmod(0o444)
    with pytest.raises(FolderError, match="can read or write"):
        release_key(credential)


class Killed(BaseException):
    """Nothing after it happens."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Die before one of the calls that change something on disk; yields the calls so far."""
    calls: list[str] = []

    def dying(name: str, real):
        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == step:
                raise Killed
            return real(*arguments, **options)

        return call

    with (
        patch("os.open", dying("open", os.open)),
        patch("os.fchown", dying("fchown", os.fchown)),
        patch("os.fsync", dying("fsync", os.fsync)),
        patch("pathlib.Path.replace", dying("replace", Path.replace)),
        patch("pathlib.Path.unlink", dying("unlink", Path.unlink)),
    ):
        yield calls


def test_a_rotation_that_is_killed_between_any_two_writes_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    file, root = rooted(tmp_path)
    seen: list[tuple[str, bool]] = []
    for step in range(1, 20):
        before = release_key(file)
        with killed_at(step) as calls:
            try:
                vouch(file, root, structs.replace(WANTED, epoch=before.epoch + 1), renew=True)
                break
            except Killed:
                after = release_key(file)
        new = after.signer.public != before.signer.public
        assert (after.epoch - before.epoch, new) in ((0, False), (1, True))
        seen.append((calls[step - 1], new))
    assert [new for _, new in seen] == sorted(new for _, new in seen)
    assert {"replace", "fsync"} <= {call for call, new in seen if not new}
    assert any(new for _, new in seen)
    assert release_key(file).epoch > 1


def test_what_a_hub_signs_with_changes_with_the_file_and_stays_when_it_is_bad(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, root = rooted(tmp_path)
    ring = Keyring(tmp_path / "data")
    first = ring.now()
    assert ring.now() is first
    after = vouch(file, root, structs.replace(WANTED, epoch=2), renew=True)
    assert ring.now() == ring.now()
    assert signs(ring, after)
    for spoil in (lambda: file.write_text("no key"), file.unlink):
        spoil()
        assert signs(ring, after)
        assert signs(ring, after)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2
    assert all("stay in force" in line for line in said)


def signs(ring: Keyring, found: ReleaseKey) -> bool:
    public = found.signer.public
    now = ring.now()
    return now.epoch == found.epoch and problem(b"x", [now.sign(b"x")], {public.id: public}) == ""


async def test_a_hub_that_runs_notices_a_rotation_and_gives_all_nodes_the_new_list(tmp_path: Path) -> None:
    broker = MemoryBroker()
    file, _ = rooted(tmp_path)
    (tmp_path / "hub.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n[jobs.digits]\n')
    async with hub(tmp_path, broker), node(broker) as one, node(broker, "device-2") as two:
        for device in (one, two):
            device.status(releases={"digits": "m1"}, policies={"digits": ""}, key_epoch=0)
            take(device, await device.hear(channels.DOWN_DESIRED, timeout_s=5.0), 1)
        cloud_hub(tmp_path, "keys", "rotate", "--root", tmp_path / "root.key")
        public = release_key(file).signer.public
        for device in (one, two):
            desired = await device.hear(channels.DOWN_DESIRED, timeout_s=5.0)
            assert problem(desired.state, desired.signatures, {public.id: public}) == ""
            assert decode(KeyList, desired.key_list).keys == (str(public),)
            take(device, desired, 2)
        await until(lambda: "at epoch 2: device-1, device-2\n" in cloud_hub(tmp_path, "keys", "list"))
        one.session = 2
        one.status(key_epoch=None)
        await until(lambda: "without a root: device-1\nat epoch 2: device-2\n" in cloud_hub(tmp_path, "keys", "list"))
        assert json.loads(cloud_hub(tmp_path, "keys", "list", "--json"))["nodes"] == {"device-1": None, "device-2": 2}


def take(device: Node, desired: Desired, epoch: int) -> None:
    """Receipt a state and report its place, as a node does."""
    state = decode(DesiredState, desired.state)
    assert (state.epoch, state.seq) == (epoch, 1)
    device.send(channels.UP_RECEIPT, Receipt(event_id="r", timestamp=1, done=(desired.event_id,), credit=64))
    device.status(releases={"digits": "m1"}, policies={"digits": ""}, key_epoch=epoch, desired=(epoch, 1))
