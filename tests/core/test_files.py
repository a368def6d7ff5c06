"""Atomic writing: the new whole, or the old whole, and nothing else in the folder."""

import os
import stat

import pytest

from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file, atomic_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(folder, **files):
    for name, text in files.items():
        (folder / name).write_text(text)


# Files. -----------------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "result.txt"
    with atomic_file(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.txt"]


def test_a_file_is_replaced_only_when_the_block_ends(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_block_leaves_the_folder_as_it_was(tmp_path, error, there):
    path = tmp_path / "result.txt"
    if there:
        path.write_text("old")

    def write():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error):
        write()
    assert names(tmp_path) == (["result.txt"] if there else [])
    if there:
        assert path.read_text() == "old"


def test_a_file_is_as_readable_as_any_other(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_file(tmp_path / "result") as temporary:
        temporary.write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "result")]
    assert modes[0] == modes[1]


def test_a_file_in_no_folder_is_refused(tmp_path):
    path = tmp_path / "missing" / "result"
    with pytest.raises(InputError, match=r"cannot write.*missing"), atomic_file(path):
        pytest.fail("the block must not run")
    assert names(tmp_path) == []


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "result").mkdir()
    with pytest.raises(InputError, match="is a folder"), atomic_file(tmp_path / "result"):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["result"]


# Folders. ---------------------------------------------------------------------------------------


def test_a_folder_appears_with_its_parents(tmp_path):
    path = tmp_path / "runs" / "first"
    with atomic_folder(path) as temporary:
        fill(temporary, a="1")
        assert not path.exists()
    assert names(path) == ["a"]
    assert names(path.parent) == ["first"]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    fill(path, old="1")
    with atomic_folder(path) as temporary:
        fill(temporary, new="2")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_block_leaves_the_old_folder(tmp_path, error, there):
    path = tmp_path / "run"
    if there:
        path.mkdir()
        fill(path, old="1")

    def write():
        with atomic_folder(path) as temporary:
            fill(temporary, half="2")
            raise error("stop")

    with pytest.raises(error):
        write()
    assert names(tmp_path) == (["run"] if there else [])
    if there:
        assert (path / "old").read_text() == "1"


def test_a_failed_exchange_brings_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "run"
    path.mkdir()
    fill(path, old="1")
    replace, calls = os.replace, []

    def second_fails(source, destination):
        calls.append(source)
        if len(calls) == 2:
            raise OSError("disk on fire")
        replace(source, destination)

    def write():
        with atomic_folder(path) as temporary:
            fill(temporary, new="2")

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="disk on fire"):
        write()
    assert names(tmp_path) == ["run"]
    assert names(path) == ["old"]


def test_a_folder_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "result"):
        pass
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "result")]
    assert modes[0] == modes[1]


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("precious")
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "run"):
        pytest.fail("the block must not run")
    assert (tmp_path / "run").read_text() == "precious"
    assert names(tmp_path) == ["run"]


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), atomic_folder(tmp_path / "file" / "run"):
        pytest.fail("the block must not run")


def test_files_of_a_new_folder_are_as_readable_as_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_folder(tmp_path / "out") as folder:
        private = folder / "private"
        private.write_text("")
        private.chmod(0o600)
    assert (tmp_path / "out" / "private").stat().st_mode == plain.stat().st_mode


def test_folders_inside_a_new_folder_are_as_open_as_any_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        private = folder / "one" / "two"
        private.mkdir(parents=True)
        (private / "file").write_text("x")
        private.chmod(0o700)
    expected = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out" / "one").stat().st_mode == expected
    assert (tmp_path / "out" / "one" / "two").stat().st_mode == expected
    assert (tmp_path / "out" / "one" / "two" / "file").read_text() == "x"


def test_a_link_to_a_folder_goes_on_pointing_to_the_new_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "old").write_text("")
    link.symlink_to(real, target_is_directory=True)
    with atomic_folder(link) as folder:
        (folder / "new").write_text("")
    assert link.is_symlink()
    assert [path.name for path in real.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
