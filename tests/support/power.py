"""What a test can do to a device's hardware: cut its power, so that only what was synced is left, and set its clock."""

import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from time import time

from tests.support.brokers import ROOT


def compiled(folder: Path, name: str = "synced") -> Path:
    """One of the C files beside this one, as a library to preload; `synced` sees what is synced."""
    library = folder / f"{name}.so"
    source = ROOT / f"tests/support/{name}.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Power:
    """The power supply of one folder: `cut` leaves there only what was synced.

    With `lies` its disk says that all is synced, and nothing ever is.
    """

    def __init__(self, folder: Path, layer: Path, *, lies: bool = False) -> None:
        self._folder = folder
        self._synced = folder.parent / f"{folder.name}-synced"
        self._synced.mkdir()
        self.environment = {
            "LD_PRELOAD": str(layer), "SYNCED_FROM": str(folder.resolve()), "SYNCED_TO": str(self._synced.resolve()),
            **({"SYNCED_LIES": "1"} if lies else {}),
        }  # fmt: skip

    def cut(self) -> None:
        """Call it when the process is dead."""
        for file in self._folder.glob("*.db*"):
            file.unlink()
        for file in self._synced.glob("*.db*"):
            if file.suffix != ".part":
                shutil.copy(file, self._folder)


class WallClock:
    """A program's wall clock, which may be set while it runs."""

    def __init__(self, file: Path, layer: Path) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(layer), "SHIFTED_BY": str(file.resolve())}

    def set_to(self, year: int) -> None:
        """New Year's noon of a year; 0 is now."""
        moment = datetime(year, 1, 1, 12, tzinfo=UTC).timestamp() if year else time()
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", int(moment - time())))
