"""Whatever could run code that a model file brought along is an error of the linter, in every folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

UNSAFE = {
    "import pickle\nmodel = pickle.load(file)": "TID251",
    "from pickle import loads": "TID251",
    "import joblib\nmodel = joblib.load('m.joblib')": "TID251",
    "import dill": "TID251",
    "import shelve": "TID251",
    "import torch\nmodel = torch.load('m.pt', weights_only=False)": "TID251",
    "import torch\nmodel = torch.jit.load('m.pt')": "TID251",
    "from torch.export import load": "TID251",
    "import pandas as pd\nmodel = pd.read_pickle('m.pkl')": "TID251",
}


def codes(program: str, file: str) -> set[str]:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", f"--stdin-filename={file}", "-"]
    done = subprocess.run(command, input=program + "\n", capture_output=True, text=True, cwd=ROOT, check=False)
    return set(re.findall(r": ([A-Z]+\d+) ", done.stdout))


@pytest.mark.parametrize("program", UNSAFE)
@pytest.mark.parametrize("file", ["edge_agent/x.py", "tests/support/x.py"])
def test_what_unpickles_is_an_error(program: str, file: str) -> None:
    assert UNSAFE[program] in codes(program, file)


def test_and_so_it_is_by_the_rules_for_security() -> None:
    assert {"S301", "TID251"} <= codes("import pickle\n\npickle.loads(x)", "edge_agent/x.py")


def test_safe_formats_are_fine() -> None:
    program = '"""A."""\n\nfrom safetensors.torch import load_file\n\nweights = load_file("m.safetensors")'
    assert codes(program, "edge_agent/x.py") == set()
