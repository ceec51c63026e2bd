"""What version 1 wrote is read for ever: see `tests/golden/README.md`."""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from messages import channels
from messages.codec import BadPayload, Format, decode, encode
from messages.shapes import Envelope
from tests.golden.write import V1, contents, write
from tests.support.messages import SENT

INVALID = sorted((V1 / "invalid").glob("*.json"))


def shape_of(file: Path) -> type[Envelope]:
    return type(SENT[file.name.split(".")[0].split("-")[0]])


def test_every_shape_that_is_sent_has_its_files() -> None:
    local = {channels.IN.path, channels.OUT.path}
    sent = {c.shape.__name__ for c in channels.CHANNELS.values() if not c.reserved and c.path not in local}
    assert set(SENT) == sent
    assert {file.name for file in V1.iterdir() if file.is_file()} == {"SHA256SUMS"}.union(*map(contents, SENT))


def test_no_golden_file_ever_changes() -> None:
    lines = (line.split("  ") for line in (V1 / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    files = {str(f.relative_to(V1)): f for f in V1.rglob("*") if f.is_file() and f.name != "SHA256SUMS"}
    assert {name: sha256(file.read_bytes()).hexdigest() for name, file in files.items()} == listed


@pytest.mark.parametrize("name", SENT)
def test_old_payloads_are_read_and_mean_the_same_in_both_forms(name: str) -> None:
    binary = decode(shape_of(V1 / name), (V1 / f"{name}.msgpack").read_bytes())
    text = decode(shape_of(V1 / name), (V1 / f"{name}.json").read_bytes())
    assert binary == text == SENT[name]


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("form", Format)
def test_what_is_written_today_still_has_every_old_field(name: str, form: Format) -> None:
    old = msgspec.json.decode((V1 / f"{name}.json").read_bytes())
    message = decode(shape_of(V1 / name), (V1 / f"{name}.{form}").read_bytes())
    assert contains(msgspec.json.decode(encode(message, Format.JSON)), old)


@pytest.mark.parametrize("name", SENT)
def test_fields_of_a_later_version_are_passed_over(name: str) -> None:
    assert decode(shape_of(V1 / name), (V1 / f"{name}.later.json").read_bytes()) == SENT[name]


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_what_is_refused_stays_refused_with_the_same_words(file: Path) -> None:
    with pytest.raises(BadPayload) as caught:
        decode(shape_of(file), file.read_bytes())
    assert f"{caught.value}\n" == file.with_suffix(".error").read_text()


def test_golden_files_are_written_once(tmp_path: Path) -> None:
    write("Report", tmp_path)
    assert (tmp_path / "Report.json").read_bytes() == contents("Report")["Report.json"]
    before = (tmp_path / "SHA256SUMS").read_text()
    with pytest.raises(FileExistsError, match="never change"):
        write("Report", tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == before


def contains(new: object, old: object) -> bool:
    """Is all of the old value in the new one? Only objects may have grown."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and contains(new[name], value) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return new == old
