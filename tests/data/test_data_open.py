"""How the text that names a data set is understood."""

import numpy as np
import pytest
from data.writers import folder_files, png, random_images, write_tar, write_tree

from cvxdistill.data import open_source
from cvxdistill.errors import InputError


def test_kind_of_a_bare_path_is_guessed(tmp_path):
    files, _ = folder_files()
    write_tree(tmp_path / "tree", files)
    write_tar(tmp_path / "tree.tar.gz", files, "w:gz")
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "images.npy", random_images(4, (3, 3)))
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=[0, 1])
    kinds = {name: open_source(str(tmp_path / name)).name for name in ("tree", "arrays", "a.npz")}
    assert kinds == {"tree": "folder", "arrays": "npy", "a.npz": "npz"}
    assert open_source(str(tmp_path / "tree.tar.gz")).splits() == ("train", "test")


def test_relative_paths_count_from_the_data_root_too(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=[0, 1])
    monkeypatch.chdir(tmp_path.parent)
    assert open_source("npz:a.npz", data_root=tmp_path).path == tmp_path / "a.npz"
    assert open_source("a.npz", data_root=str(tmp_path)).name == "npz"
    with pytest.raises(InputError, match=r"`npz:a.npz` must name an existing path"):
        open_source("npz:a.npz")


def test_a_path_with_a_colon_is_still_a_path(tmp_path):
    write_tree(tmp_path / "a:b", {"k/1.png": png(random_images(1, (2, 2))[0])})
    assert open_source(str(tmp_path / "a:b")).load("all").class_names == ("k",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "mnits",
            r"must be one of cifar10, .* npz:PATH, .*or an existing path; .*Did you mean `mnis",
        ),
        ("fodler:x", r"got `fodler:x`. Did you mean `folder:x`\?"),
        ("folder", r"folder needs a path: write folder:PATH"),
        ("npz:", r"npz needs a path"),
        ("mnist:/somewhere", r"mnist takes no path; .*--data-root"),
        ("folder:/no/such/place", r"nothing exists at /no/such/place"),
        ("", r"a data set must be one of"),
    ],
)
def test_what_cannot_be_understood(spec, message):
    with pytest.raises(InputError, match=message):
        open_source(spec)


def test_a_file_of_no_known_kind(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"Write KIND:PATH with one of clip, folder, .* npz"):
        open_source(str(tmp_path / "a.csv"))
