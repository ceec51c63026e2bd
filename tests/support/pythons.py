"""Environments with another Python or other packages, for `scripts/test extra`."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.brokers import ROOT

CONVERTERS = ROOT / ".venv-convert/bin/python"
"""Where `scripts/test extra` has installed litert-torch and the rest of `configs/convert.txt`."""


def interpreter(version: str) -> Path:
    """A Python of this version: on the PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    found = [Path(on_path)] if on_path else []
    for python in (*found, *pyenv.glob(f"versions/{version}.*/bin/python")):
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    raise AssertionError(f"Python {version} is not on this machine")


def environment(version: str, folder: Path, *packages: str) -> Path:
    """The Python of a new virtual environment with these packages."""
    subprocess.run([interpreter(version), "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", *packages], check=True, cwd=folder)
    return python
