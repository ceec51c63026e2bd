"""Each page that brings files, command by command as it stands there: what comes out is what the page says."""

from pathlib import Path

import pytest

from tests.support.brokers import ROOT
from tests.support.console import is_story
from tests.support.stories import Story

PAGES = [page for page in sorted((ROOT / "docs").glob("**/*.md")) if is_story(page) and page.name != "tutorial.md"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_example_works_as_it_says(page: Path, tmp_path: Path) -> None:
    Story(page, tmp_path).play()


def test_the_list_of_examples_is_whole() -> None:
    folder = ROOT / "docs/examples"
    listed = (folder / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent == folder and f"({page.name})" not in listed] == []
