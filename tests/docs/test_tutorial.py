"""The tutorial, file by file and command by command as it stands there."""

from pathlib import Path

import pytest

from tests.support.brokers import ROOT
from tests.support.stories import Story

FIRST_ANSWER_S = 60.0
"""A reader needs minutes to read and to download; the programs must not need much on top."""


@pytest.mark.timeout(120)
def test_a_new_user_gets_an_improved_answer_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(ROOT / "docs/tutorial.md", tmp_path)
    story.play()
    took = story.took["python after.py"]
    with capsys.disabled():
        print(f"\nfrom the first command to the first improved answers: {took:.1f} s, without the download")
    assert took < FIRST_ANSWER_S
