"""A watched folder: every file is judged once, whole, across restarts, and a bad one stops nothing."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.directory import Directory
from edge_agent.sources.feed import IDLE, Bad, Sample, SourceError
from tests.support.events import until
from tests.support.looks import ids, look
from tests.support.small_agent import write_agent

ROW = TensorSpec("float32", (2,))
GREY = TensorSpec("float32", (8, 8))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def watch(inbox: Path, takes: TensorSpec = ROW, **options: Any) -> Any:
    return Directory(path=inbox.name, stable_s=0.0, **options).open(takes, inbox.parent)


def reasons(items: list[Sample | Bad]) -> dict[str, str]:
    return {item.where: item.reason for item in items if isinstance(item, Bad)}


def arrays(items: list[Sample | Bad]) -> list[Any]:
    return [item.x.tolist() for item in items if isinstance(item, Sample)]


def picture(path: Path, shape: tuple[int, ...] = (16, 16, 3), value: int = 255) -> None:
    Image.fromarray(np.full(shape, value, "uint8")).save(path)


def in_place(path: Path, text: str) -> None:
    """Change a file without giving it a new inode, as a program does that has it open."""
    with path.open("r+") as file:
        file.truncate()
        file.write(text)
    os.utime(path, ns=(path.stat().st_mtime_ns + 5_000_000,) * 2)


def test_a_table_is_read_row_by_row_and_rows_are_named_by_their_line(inbox: Path) -> None:
    (inbox / "weather.csv").write_text("warm,wet\n1,2\n\n3,4.5\n")
    seen = look(watch(inbox, columns=("warm", "wet")))
    assert (ids(seen), arrays(seen)) == (["weather.csv:2", "weather.csv:4"], [[1.0, 2.0], [3.0, 4.5]])
    assert {item.x.dtype.name for item in seen if isinstance(item, Sample)} == {"float32"}


def test_a_table_may_have_no_header(inbox: Path) -> None:
    (inbox / "plain.csv").write_text("\ufeff1,2\n", encoding="utf-8")
    assert arrays(look(watch(inbox))) == [[1.0, 2.0]]


def test_bad_rows_are_named_and_the_others_are_judged(inbox: Path) -> None:
    (inbox / "a.csv").write_text("warm,wet\n1,hot\n1,2,3\n1,nan\n1,1e300\n5,6\n")
    seen = look(watch(inbox, columns=("warm", "wet")))
    assert reasons(seen) == {
        "a.csv:2": "wet is 'hot', which is no number",
        "a.csv:3": "has 3 columns, the engine takes float32[2]",
        "a.csv:4": "x holds a number that float32 cannot hold",
        "a.csv:5": "x holds a number that float32 cannot hold",
    }
    assert arrays(seen) == [[5.0, 6.0]]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("order.csv", b"wet,warm\n1,2\n", "its header is wet, warm; columns says warm, wet"),
        ("empty.csv", b"", "its header is ; columns says warm, wet"),
        ("latin.csv", b"warm,wet\n1,2\n\xff", "UnicodeDecodeError"),
        ("quote.csv", b'warm,wet\n"1"x,2\n', "Error: ',' expected after '\"'"),
        ("cut.npy", b"\x93NUMPY\x01\x00", "EOF: reading array header length"),
        ("pickle.npy", b"\x80\x04N." * 9, "the magic string is not correct"),
        ("notes.txt", b"hello", ".txt is not read: use .csv, .npy or .png"),
        ("notes", b"hello", "a name without a suffix is not read"),
    ],
)
def test_a_file_that_is_none_is_named_and_the_next_one_is_judged(
    inbox: Path, name: str, content: bytes, reason: str
) -> None:
    (inbox / name).write_bytes(content)
    good = inbox / "z-good.csv"
    good.write_text("warm,wet\n7,8\n")
    os.utime(good, ns=(2**61, 2**61))
    items = watch(inbox, columns=("warm", "wet"))
    seen = look(items)
    assert reason in reasons(seen)[name]
    assert arrays(seen)[-1] == [7.0, 8.0]
    assert look(items) == [], "a bad file is not tried again"


def test_a_header_without_columns_says_what_to_write(inbox: Path) -> None:
    (inbox / "a.csv").write_text("warm,wet\n1,2\n")
    seen = look(watch(inbox))
    assert reasons(seen) == {
        "a.csv:1": "column 1 is 'warm', which is no number; a table with a header needs columns = [...]"
    }
    assert arrays(seen) == [[1.0, 2.0]]


def test_a_numpy_file_holds_one_sample_or_many(inbox: Path) -> None:
    np.save(inbox / "one.npy", np.array([1, 2]))
    np.save(inbox / "two.npy", np.array([[3.0, 4.0], [np.inf, 0.0], [5.0, 6.0]]))
    np.save(inbox / "wide.npy", np.zeros((2, 3)))
    seen = look(watch(inbox))
    assert sorted(ids(seen)) == ["!two.npy:1", "!wide.npy", "one.npy", "two.npy:0", "two.npy:2"]
    assert reasons(seen)["wide.npy"] == "holds float64[2, 3], the engine takes float32[2]"


@pytest.mark.parametrize(
    ("takes", "options", "wanted"),
    [
        (TensorSpec("float32", (4, 6)), {}, 1.0),
        (TensorSpec("uint8", (4, 6, 3)), {}, 255.0),
        (TensorSpec("float32", (3, 4, 6)), {"scale": 0.5}, 127.5),
        (TensorSpec("float64", (1, 4, 6)), {}, 1.0),
        (TensorSpec("float32", (72,)), {"size": (4, 6), "scale": 16 / 255}, 16.0),
        (TensorSpec("int16", (24,)), {"size": (4, 6)}, 255.0),
    ],
)
def test_pictures_become_what_the_engine_takes(
    inbox: Path, takes: TensorSpec, options: dict[str, Any], wanted: float
) -> None:
    picture(inbox / "white.png")
    picture(inbox / "grey.jpg", (5, 7))
    for item in look(watch(inbox, takes, **options)):
        assert isinstance(item, Sample)
        assert (item.x.dtype.name, item.x.shape) == (takes.dtype, takes.shape)
        assert np.allclose(item.x, wanted)


def test_colours_and_rows_stay_where_they_are(inbox: Path) -> None:
    pixels = np.arange(12, dtype="uint8").reshape(2, 2, 3) * 20
    Image.fromarray(pixels).save(inbox / "a.png")
    for shape, wanted in (((2, 2, 3), pixels), ((3, 2, 2), np.moveaxis(pixels, -1, 0))):
        (item,) = look(watch(inbox, TensorSpec("uint8", shape)))
        assert isinstance(item, Sample)
        assert np.array_equal(item.x, wanted)
        (inbox / ".skerry.db").unlink()


def test_half_a_picture_one_that_is_none_and_one_of_16_bits_are_named(inbox: Path) -> None:
    picture(inbox / "whole.png", (200, 200, 3))
    (inbox / "half.png").write_bytes((inbox / "whole.png").read_bytes()[:200])
    Image.fromarray(np.full((8, 8), 40_000, "uint16")).save(inbox / "deep.png")
    (inbox / "none.png").write_bytes(b"GIF? no")
    seen = look(watch(inbox, GREY))
    assert sorted(ids(seen)) == ["!deep.png", "!half.png", "!none.png", "whole.png"]
    assert "UnidentifiedImageError: cannot identify image file" in reasons(seen)["none.png"]
    assert "only 8 bits a channel are read" in reasons(seen)["deep.png"]


@pytest.mark.parametrize("options", [{}, {"size": (3, 5)}, {"size": (0, 8)}])
def test_an_engine_that_takes_no_pictures_stops_the_source_and_marks_no_file(
    inbox: Path, options: dict[str, Any]
) -> None:
    picture(inbox / "a.png")
    with pytest.raises(SourceError, match=r"float32\[64\]"):
        look(watch(inbox, TensorSpec("float32", (64,)), **options))
    assert ids(look(watch(inbox, TensorSpec("float32", (64,)), size=(8, 8)))) == ["a.png"]


def test_a_file_is_read_when_it_no_longer_changes(inbox: Path) -> None:
    items = watch(inbox)
    growing = inbox / "a.csv"
    growing.write_text("1,")
    assert look(items, 1) == []
    in_place(growing, "1,2\n3,")
    assert look(items, 1) == []
    in_place(growing, "1,2\n3,4\n")
    assert look(items, 1) == []
    assert ids(look(items, 1)) == ["a.csv:1", "a.csv:2"]


@pytest.mark.parametrize("name", ["a.csv.part", ".a.csv", "a.csv.tmp"])
def test_a_file_under_another_name_waits_for_its_rename(inbox: Path, name: str) -> None:
    items = watch(inbox)
    (inbox / name).write_text("1,2\n")
    assert look(items, 3) == []
    (inbox / name).rename(inbox / "a.csv")
    assert ids(look(items)) == ["a.csv:1"]


def test_only_what_matches_is_looked_at_and_no_subfolder(inbox: Path) -> None:
    (inbox / "a.csv").write_text("1,2\n")
    (inbox / "readme.txt").write_text("hello")
    (inbox / "deeper.csv").mkdir()
    os.mkfifo(inbox / "pipe.csv")
    assert ids(look(watch(inbox, pattern="*.csv"))) == ["a.csv:1"]


def test_nothing_is_judged_twice_after_a_restart_not_even_a_row(inbox: Path) -> None:
    (inbox / "a.csv").write_text("1,2\n3,4\n5,6\n")
    np.save(inbox / "b.npy", np.zeros(2))
    items = watch(inbox)
    assert items.send(None) is not None
    first = [items.send(None) for _ in range(2)]
    items.close()  # killed while the second row was judged
    again = look(watch(inbox))
    assert ids([*first, *again]) == ["a.csv:1", "a.csv:2", "a.csv:2", "a.csv:3", "b.npy"]
    assert first[1].sample_id == getattr(again[0], "sample_id", None), "the hub would store it once"
    assert look(watch(inbox)) == []


def test_a_table_that_grows_goes_on_behind_its_last_row(inbox: Path) -> None:
    (inbox / "a.csv").write_text("1,2\n")
    items = watch(inbox)
    assert ids(look(items)) == ["a.csv:1"]
    in_place(inbox / "a.csv", "1,2\n3,4\n")
    assert ids(look(items)) == ["a.csv:2"]
    in_place(inbox / "a.csv", "1,2\n3,4\n5,6\n")
    assert ids(look(watch(inbox))) == ["a.csv:3"], "a restart remembers it too"


def test_a_name_that_is_used_again_is_another_sample(inbox: Path) -> None:
    items = watch(inbox)
    seen = []
    for number in range(3):
        np.save(inbox / "new.npy", np.full(2, number))
        os.utime(inbox / "new.npy", ns=(number * 10**9, number * 10**9))
        (inbox / "new.npy").rename(inbox / "latest.npy")
        seen += look(items)
    assert len({item.sample_id for item in seen if isinstance(item, Sample)}) == 3
    assert ids(seen) == ["latest.npy"] * 3


def test_files_are_moved_by_what_came_of_them_and_none_is_overwritten(inbox: Path) -> None:
    items = watch(inbox, after="move")
    for number in range(2):
        np.save(inbox / "good.npy", np.full(2, number))
        np.save(inbox / "refused.npy", np.zeros(2))
        (inbox / "bad.csv").write_text("1,x\n3,4\n")
        look(items, refuse=lambda sample: sample.sample_id.startswith("refused"))
        assert {file.name for file in inbox.iterdir() if not file.name.startswith(".")} == {"done", "failed"}
    assert sorted(file.name.partition(".")[0].partition("@")[0] for file in (inbox / "failed").iterdir()) == [
        *("bad", "bad", "refused", "refused")
    ]
    assert {float(np.load(file)[0]) for file in (inbox / "done").iterdir()} == {0.0, 1.0}


def test_judged_files_are_deleted_and_failed_ones_kept_for_a_person(inbox: Path) -> None:
    np.save(inbox / "good.npy", np.zeros(2))
    (inbox / "bad.csv").write_text("1,x\n")
    look(watch(inbox, after="delete"))
    assert [file.name for file in inbox.iterdir() if not file.name.startswith(".")] == ["failed"]
    assert [file.name for file in (inbox / "failed").iterdir()] == ["bad.csv"]


def test_a_file_that_cannot_be_moved_is_named_once_and_not_judged_again(inbox: Path) -> None:
    np.save(inbox / "good.npy", np.zeros(2))
    (inbox / "done").write_text("in the way")
    items = watch(inbox, after="move", pattern="*.npy")
    seen = look(items)
    assert ids(seen) == ["good.npy", "!good.npy"]
    assert "cannot be put away" in reasons(seen)["good.npy"]
    assert look(items) == []


def test_a_name_of_any_bytes_gets_an_id_that_can_travel(inbox: Path) -> None:
    np.save(os.fsdecode(bytes(inbox) + b"/\xff.npy"), np.zeros(2))
    (seen,) = look(watch(inbox))
    assert isinstance(seen, Sample)
    assert seen.sample_id.encode().startswith("\ufffd.npy@".encode())
    assert look(watch(inbox)) == []


def test_long_names_get_ids_that_the_hub_takes_and_that_differ(inbox: Path) -> None:
    for end in ("a", "b"):
        np.save(inbox / f"{'n' * 240}{end}.npy", np.zeros((2, 2)))
        os.utime(inbox / f"{'n' * 240}{end}.npy", ns=(10**18, 10**18))
    seen = {item.sample_id for item in look(watch(inbox)) if isinstance(item, Sample)}
    assert len(seen) == 4
    assert all(name.startswith("n" * 150) and len(name) <= 200 for name in seen)


def no_folder(inbox: Path) -> None:
    inbox.rmdir()


def damaged(inbox: Path) -> None:
    (inbox / ".skerry.db").write_bytes(b"no database, but of some length" * 100)


@pytest.mark.parametrize(
    ("harm", "words"), [(no_folder, "there is no such folder"), (damaged, "file is not a database")]
)
def test_a_folder_that_cannot_be_watched_is_named(inbox: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(inbox)
    with pytest.raises(SourceError, match=words) as caught:
        look(watch(inbox))
    assert str(inbox) in str(caught.value)


async def test_a_killed_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/table.csv").write_text("".join(f"{number}\n" for number in range(3000)))
    (tmp_path / "my_notes.py").write_text(
        "file = open('notes.txt', 'a', buffering=1)\n"
        "def take(prediction): print(prediction.sample_id.partition('@')[0], file=file)\n"
    )
    job = (
        '[jobs.side]\nmodel = "small.npz"\nsink = "my_notes:take"\n'
        'source = {use = "directory", path = "inbox", after = "move", stable_s = 0.05}\n'
    )
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(write_agent(tmp_path, jobs=job))]
    notes, done = tmp_path / "notes.txt", tmp_path / "inbox/done/table.csv"

    def judged(rows: int) -> bool:
        return notes.exists() and notes.read_text().count("\n") >= rows

    for stop, happened in (("kill", lambda: judged(200)), ("kill", lambda: judged(1000)), ("terminate", done.exists)):
        agent = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            await until(happened, within_s=20.0)
        finally:
            getattr(agent, stop)()
            await agent.wait()
    seen = notes.read_text().split()
    assert set(seen) == {f"table.csv:{line}" for line in range(1, 3001)}
    assert len(seen) <= 3000 + 2, "a kill may repeat the row that was being judged, and no other"


def test_between_two_long_looks_it_shows_that_it_lives(inbox: Path) -> None:
    items = Directory(path=inbox.name, stable_s=600.0).open(ROW, inbox.parent)
    began = time.monotonic()
    assert [next(items) for _ in range(3)] == [IDLE] * 3
    assert time.monotonic() - began < 30.0
    items.close()
