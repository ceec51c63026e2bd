"""Write the golden files of a shape that has none yet: `python -m tests.golden.write NAME`. Never overwrites."""

import sys
from hashlib import sha256
from pathlib import Path

import msgspec

from messages.codec import Format, encode
from tests.support.messages import SENT

V1 = Path(__file__).parent / "v1"
LATER = {"from_a_later_version": {"deep": [1, "two", None]}, "zeal": 0.5}


def contents(name: str) -> dict[str, bytes]:
    """The files of one shape, by their names."""
    message = SENT[name]
    fields = msgspec.json.decode(encode(message, Format.JSON), type=dict[str, object])
    return {
        f"{name}.msgpack": encode(message),
        f"{name}.json": encode(message, Format.JSON),
        f"{name}.later.json": msgspec.json.encode(LATER | fields | LATER),
    }


def write(name: str, folder: Path = V1) -> None:
    """Write the files of one shape. Raises FileExistsError before anything is written when one is there."""
    files = contents(name)
    for file in files:
        if (folder / file).exists():
            raise FileExistsError(f"{folder / file}: golden files never change")
    for file, content in files.items():
        (folder / file).write_bytes(content)
        with (folder / "SHA256SUMS").open("a") as sums:
            sums.write(f"{sha256(content).hexdigest()}  {file}\n")


if __name__ == "__main__":
    write(sys.argv[1])
