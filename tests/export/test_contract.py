"""Every format: what goes out comes back, what cannot is refused, and nothing is left half done."""

import dataclasses
import importlib.util
import json
import os
import stat

import pytest
import torch
from artifact.makers import listing, make_distilled, make_images, same_images
from export.artefacts import ARTEFACTS, REFUSED

from cvxdistill.artifact import Distilled
from cvxdistill.errors import InputError
from cvxdistill.export import (
    EXPORTERS,
    IMPORTERS,
    export_distilled,
    find_exporter,
    find_importer,
    import_distilled,
)
from cvxdistill.features import Preprocessing, parse_network, train_extractor, wrap_module
from cvxdistill.heads import CvxpyHead
from cvxdistill.heads.cvxpy_problems import ridge

NEEDS = {"hub": ("pyarrow", "huggingface_hub"), "parquet": ("pyarrow",)}


@pytest.fixture(params=EXPORTERS)
def name(request) -> str:
    for library in NEEDS.get(request.param, ()):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    return request.param


@pytest.fixture(scope="module", params=ARTEFACTS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def made(kind) -> Distilled:
    return ARTEFACTS[kind]()


def place(folder, name):
    return folder / f"out{EXPORTERS[name].suffix or ''}"


def assert_same(again, made):
    assert same_images(again.base, made.base)
    assert again.labels.dtype == torch.float64
    assert torch.equal(again.labels, made.labels.double())
    assert torch.equal(again.labels.signbit(), made.labels.signbit())
    assert (again.label_kind, again.class_names) == (made.label_kind, made.class_names)
    assert again.preprocessing.fingerprint() == made.preprocessing.fingerprint()
    assert (again.head, again.recipe) == (made.head, made.recipe)
    assert again.provenance == json.loads(json.dumps(dict(made.provenance)))
    prints = [[e.fingerprint() for e in each.extractors] for each in (again, made)]
    assert prints[0] == prints[1]


def test_what_goes_out_comes_back(name, kind, made, tmp_path):
    path = place(tmp_path, name)
    if (name, kind) in REFUSED:
        with pytest.raises(InputError, match="Choose"):
            export_distilled(made, path, format=name)
        assert listing(tmp_path) == {}
        return
    export_distilled(made, path, format=name)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert_same(import_distilled(path), made)


def test_to_be_a_format_is_to_be_read():
    assert set(IMPORTERS) == {*EXPORTERS, "authors"}
    for name, kind in IMPORTERS.items():
        assert kind.name == name


def test_what_came_back_goes_out_the_same(name, tmp_path):
    made = make_distilled()
    one, two = place(tmp_path / "one", name), place(tmp_path / "two", name)
    for folder in (one.parent, two.parent):
        folder.mkdir()
    export_distilled(made, one, format=name)
    export_distilled(import_distilled(one), two, format=name)
    assert listing(one.parent) == listing(two.parent)


def test_a_saved_import_is_an_artefact(name, tmp_path):
    made = make_distilled()
    export_distilled(made, place(tmp_path, name), format=name)
    import_distilled(place(tmp_path, name)).save(tmp_path / "run")
    loaded = Distilled.load(tmp_path / "run")
    assert torch.equal(loaded.labels, made.labels)
    assert same_images(loaded.base, made.base)
    with pytest.raises(InputError, match="run folder already"):
        import_distilled(tmp_path / "run", format=name)


def test_the_form_of_the_labels_is_noted_and_its_numbers_kept(name, tmp_path):
    made = make_distilled().stored_as("int8")
    export_distilled(made, place(tmp_path, name), format=name)
    again = import_distilled(place(tmp_path, name))
    assert torch.equal(again.labels, made.labels)
    assert find_importer(place(tmp_path, name))._contents(place(tmp_path, name)).record.label_codec


def test_trained_and_foreign_extractors_stay_behind(name, tmp_path):
    data = make_images()
    ready = Preprocessing.fit(data)
    network = parse_network("convnet:width=2,bottleneck=3")
    trained = train_extractor(network, data, preprocessing=ready, steps=1, seed=0)
    foreign = wrap_module(torch.nn.Flatten(), (1, 8, 8))
    made = make_distilled(data, extractors=[trained, foreign])
    export_distilled(made, place(tmp_path, name), format=name)
    again = import_distilled(place(tmp_path, name))
    assert again.extractors == ()
    assert_same(again, dataclasses.replace(made, extractors=()))


def test_inputs_are_not_changed(name, tmp_path):
    made = make_distilled()
    before = made.labels.clone(), made.examples.clone()
    export_distilled(made, place(tmp_path, name), format=name)
    assert torch.equal(before[0], made.labels)
    assert torch.equal(before[1], made.examples)


# Where it is written to. ------------------------------------------------------------------------


def test_a_file_is_replaced_and_a_folder_is_not(name, tmp_path):
    first, second = make_distilled(m=3), make_distilled(m=6)
    path = place(tmp_path, name)
    export_distilled(first, path, format=name)
    if EXPORTERS[name].suffix is not None:
        export_distilled(second, path, format=name)
        assert len(import_distilled(path)) == 6
        return
    before = listing(tmp_path)
    with pytest.raises(InputError, match="holds files already"):
        export_distilled(second, path, format=name)
    assert listing(tmp_path) == before


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    export_distilled(make_distilled(), tmp_path / "out", format="image-folder")
    assert len(import_distilled(tmp_path / "out")) == 6


def test_what_cannot_be_recorded_leaves_nothing(name, tmp_path):
    made = dataclasses.replace(make_distilled(), head=CvxpyHead(ridge))
    with pytest.raises(InputError, match="CvxpyHead cannot be written"):
        export_distilled(made, place(tmp_path, name), format=name)
    assert listing(tmp_path) == {}
    odd = dataclasses.replace(make_distilled(), provenance={"x": object()})
    with pytest.raises(InputError, match="JSON"):
        export_distilled(odd, place(tmp_path, name), format=name)
    assert listing(tmp_path) == {}


def test_a_write_that_fails_leaves_what_was_there(name, tmp_path, monkeypatch):
    path = place(tmp_path, name)
    kind = EXPORTERS[name]
    if kind.suffix is not None:
        export_distilled(make_distilled(m=3), path, format=name)
    before = listing(tmp_path)

    def write_and_fail(self, contents, place):
        inside = place if self.suffix is not None else place / "sub" / "half"
        inside.parent.mkdir(exist_ok=True)
        inside.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(kind, "_write", write_and_fail)
    with pytest.raises(OSError, match="disk full"):
        export_distilled(make_distilled(), path, format=name)
    assert listing(tmp_path) == before


def test_results_are_as_readable_as_other_new_files(name, tmp_path):
    path = place(tmp_path, name)
    export_distilled(make_distilled(), path, format=name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    modes = {kind: stat.S_IMODE(os.stat(tmp_path / kind).st_mode) for kind in ("folder", "file")}
    for entry in (path, *path.rglob("*")):
        mode = stat.S_IMODE(entry.stat().st_mode)
        assert mode == modes["folder" if entry.is_dir() else "file"], entry


# Which format. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in EXPORTERS.values() if k.suffix])
def test_the_ending_of_a_file_tells_its_format(kind, tmp_path):
    assert type(find_exporter(f"x/y{kind.suffix}")) is kind
    with pytest.raises(InputError, match=f"ends in {kind.suffix}"):
        export_distilled(make_distilled(), tmp_path / "x.other", format=kind.name)


def test_formats_that_are_not_told_or_unknown():
    with pytest.raises(InputError, match=r"does not tell the format.*\.npz.*image-folder"):
        find_exporter("some/folder")
    with pytest.raises(InputError, match="Did you mean `parquet`"):
        find_exporter("x", "parket")
    with pytest.raises(InputError, match="Did you mean `license`"):
        find_exporter("x", "hub:licence=mit")
    with pytest.raises(InputError, match="recognises"):
        find_importer("nothing/here")
    with pytest.raises(InputError, match="nothing exists"):
        import_distilled("nothing/here.npz")
    with pytest.raises(InputError, match="leave `target` out"):
        find_importer("x.npz", target="mnist")
    with pytest.raises(InputError, match="import format"):
        find_importer("x.npz", "zip")
