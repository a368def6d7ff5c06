"""Folder names: valid everywhere, all different, and no more changed than need be."""

import unicodedata

import pytest
from export.artefacts import ODD_NAMES
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.export.names import folder_names

FORBIDDEN = set('<>:"/\\|?*') | {chr(k) for k in range(32)}
DEVICES = ("con", "prn", "aux", "nul", "com1", "lpt9")


def assert_valid(names):
    seen = set()
    for name in names:
        assert name
        assert not FORBIDDEN & set(name)
        assert name[0] not in ". "
        assert name[-1] not in ". "
        assert name.partition(".")[0].lower() not in DEVICES
        assert len(name.encode()) <= 120
        seen.add(unicodedata.normalize("NFD", name).casefold())
    assert len(seen) == len(names)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(TEXTS, max_size=12))
def test_any_names(names):
    found = folder_names(names)
    assert len(found) == len(names)
    assert_valid(found)


def test_colliding_names():
    clash = ["a", "A", "a-2", "a/b", "a\\b", "é", "e\u0301", "a ", " a", "", ".", "..", "x" * 400]
    assert_valid(folder_names(clash))
    assert_valid(folder_names(["x" * 400, "x" * 401]))
    assert_valid(folder_names(ODD_NAMES))
    assert_valid(folder_names([f"{device}{end}" for device in DEVICES for end in ("", ".png")]))


@pytest.mark.parametrize("name", ["cat", "7", "T-shirt", "漢字", "été", "हिन्दी", "a b", "x.y"])
def test_harmless_names_stay(name):
    assert folder_names([name]) == (unicodedata.normalize("NFC", name),)


def test_every_class_gets_its_folder(tmp_path):
    for name in folder_names(ODD_NAMES):
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == len(ODD_NAMES)
