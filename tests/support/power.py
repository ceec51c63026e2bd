"""Power supplies that can be cut: of a folder only what was synced is left."""

import shutil
import subprocess
from pathlib import Path

from tests.support.brokers import ROOT


def compiled(folder: Path) -> Path:
    """The layer that sees what is synced, as a library to preload."""
    library = folder / "synced.so"
    source = ROOT / "tests/support/synced.c"
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
