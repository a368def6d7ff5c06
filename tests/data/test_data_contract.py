"""What every registered source promises, checked against files of known content."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from data.writers import WRITERS

from cvxdistill.data import DATASETS, load_splits, open_source
from cvxdistill.errors import InputError


@pytest.fixture(params=sorted(DATASETS))
def written(request, tmp_path):
    return WRITERS[request.param](tmp_path)


def test_registry_is_sorted_and_named_after_its_sources():
    assert list(DATASETS) == sorted(DATASETS)
    assert all(source.name == name for name, source in DATASETS.items())
    assert WRITERS.keys() == DATASETS.keys()


def test_reads_exactly_what_was_written(written):
    source = open_source(written.spec, data_root=written.root)
    assert source.splits() == tuple(written.truth)
    for split, (images, labels) in written.truth.items():
        data = source.load(split)
        np.testing.assert_array_equal(data.images.numpy(), images)
        np.testing.assert_array_equal(data.labels.numpy(), labels)
        assert data.class_names == written.class_names
        assert (data.split, data.source_split) == (split, split)
        assert data.indices.tolist() == list(range(len(labels)))
        assert data.images.dtype == torch.from_numpy(images[:0]).dtype
        assert data.images.is_contiguous()


def test_reading_twice_gives_the_same(written):
    first = open_source(written.spec, data_root=written.root)
    again = open_source(written.spec, data_root=written.root)
    for split in first.splits():
        prints = {s.load(split).fingerprint() for s in (first, first, again)}
        assert len(prints) == 1


def test_unknown_split_is_refused_by_name(written):
    source = open_source(written.spec, data_root=written.root)
    with pytest.raises(InputError, match=r"split of .* must be one of .*; got `tset`"):
        source.load("tset")


def test_divides_into_disjoint_parts_that_cover(written):
    fraction = None if "test" in written.truth else 0.25
    parts = load_splits(
        written.spec, data_root=written.root, test_fraction=fraction, validation=0.3
    )
    held = [parts.train, parts.validation] + ([parts.test()] if fraction else [])
    indices = torch.cat([part.indices for part in held])
    whole = len(next(iter(written.truth.values()))[1])
    assert indices.sort().values.tolist() == list(range(whole))
    assert json.loads(json.dumps(parts.record)) == parts.record


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits"}))
def test_missing_files_are_one_clear_line(name, tmp_path):
    spec = f"{name}:{tmp_path / 'nothing'}" if DATASETS[name].needs_path else name
    with pytest.raises(InputError, match=r"expects|must name an existing path") as caught:
        open_source(spec, data_root=tmp_path).splits()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(n for n in DATASETS if not DATASETS[n].needs_path))
def test_data_root_is_needed_and_must_exist(name, tmp_path):
    if name == "digits":
        assert open_source(name).splits() == ("all",)
        return
    with pytest.raises(InputError, match=r"--data-root DIR\); got none"):
        open_source(name).splits()
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_source(name, data_root=tmp_path / "nowhere").splits()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file is a file"):
        open_source(name, data_root=tmp_path / "file").splits()


def test_import_is_light():
    heavy = "{'torchvision', 'sklearn', 'PIL', 'matplotlib'} & sys.modules.keys()"
    code = f"import sys, cvxdistill.data; print(sorted({heavy}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
