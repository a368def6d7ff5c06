"""Every page of measurements says what the results beside it hold, and nothing typed in since."""

import json
from pathlib import Path

import pytest

from benchmarks.heads.render import render as render_heads
from benchmarks.paper.render import render_page
from benchmarks.pool.render import render_pool
from benchmarks.pool.render_entropy import render_entropy
from benchmarks.pool.render_seen import render_seen
from benchmarks.prototypes.render import render as render_prototypes
from benchmarks.stats.render import render as render_stats
from benchmarks.storage.render import render as render_storage

ROOT = Path(__file__).resolve().parents[1]
RESULTS, COMMITTED = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks"
# What returns a text, and what writes its pages into a folder.
TEXTS = {"heads": render_heads, "stats": render_stats, "prototypes": render_prototypes}
FOLDERS = {
    "cross-entropy": render_entropy,
    "pool": render_pool,
    "seen": render_seen,
    "storage": render_storage,
}


def results(page):
    return json.loads((RESULTS / f"{page.replace('-', '_')}.json").read_text())


def test_no_page_is_without_a_test():
    assert {path.stem for path in COMMITTED.glob("*.md")} == {*TEXTS, *FOLDERS, "paper"}


@pytest.mark.parametrize("page", TEXTS)
def test_a_page_is_the_text_of_its_results(page):
    made = TEXTS[page](results(page))
    assert made.rstrip("\n") == (COMMITTED / f"{page}.md").read_text().rstrip("\n")


@pytest.mark.parametrize("page", FOLDERS)
def test_a_page_is_what_its_results_are_written_as(page, tmp_path):
    FOLDERS[page](results(page), tmp_path)
    assert (tmp_path / f"{page}.md").read_text() == (COMMITTED / f"{page}.md").read_text()


def test_the_paper_page_is_what_its_results_are_written_as(tmp_path):
    render_page(RESULTS / "paper", tmp_path / "paper.md")
    assert (tmp_path / "paper.md").read_text() == (COMMITTED / "paper.md").read_text()
