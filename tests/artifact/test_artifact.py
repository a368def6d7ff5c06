"""The artefact: what is saved comes back, what was changed is refused, and nothing is half done."""

import contextlib
import dataclasses
import json
import os
import pickle

import pytest
import torch
from artifact.makers import (
    listing,
    make_distilled,
    make_features,
    make_images,
    same_images,
)
from cases import draw
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.codecs import parse_codec
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Preprocessing,
    draw_extractor,
    parse_network,
    train_extractor,
    wrap_module,
)
from cvxdistill.heads import (
    HEADS,
    CvxpyHead,
    Head,
    KernelRidgeHead,
    LogisticHead,
    RidgeHead,
    SVMHead,
)
from cvxdistill.manifest import MANIFEST, RUN_FILES, TENSORS

HEADS_SAVED = {
    "kernel-ridge": KernelRidgeHead(kernel="polynomial", degree=3, gamma=None, offset=0.5),
    "logistic": LogisticHead(l2=0.25, intercept="penalised"),
    "ridge": RidgeHead(l2=torch.tensor(0.3, dtype=torch.float64), l2_scale="absolute"),
    "svm": SVMHead(l2=0.5, max_steps=50),
}


def trained(data, network="convnet:width=2,bottleneck=3", steps=2):
    return train_extractor(
        parse_network(network), data, preprocessing=Preprocessing.fit(data), steps=steps, seed=0
    )


def plain(m=4, **options):
    """Return an artefact that no solve made, for tests of the container alone."""
    base = choose_base(make_images(12), m)
    labels = options.pop("labels", draw(m, 3))
    return Distilled(base, labels, options.pop("label_kind", "scores"), base.class_names, **options)


def float_images():
    data = make_images()
    return ImageSet(data.images.float() / 255, data.labels, data.class_names, name="floats")


CASES = {
    "bytes": make_distilled,
    "floats": lambda: make_distilled(float_images()),
    "colour-zca": lambda: make_distilled(
        make_images(shape=(3, 8, 8)), preprocessing=Preprocessing.fit(make_images(shape=(3, 8, 8)))
    ),
    "zca": lambda: make_distilled(preprocessing=Preprocessing.fit(make_images(), zca=True)),
    "features": lambda: make_distilled(make_features()),
    "pool": lambda: make_distilled(pool=3),
    "trained": lambda: make_distilled(extractors=[trained(make_images())]),
    "mixed": lambda: make_distilled(
        extractors=[
            draw_extractor(parse_network("mlp:width=3"), (1, 8, 8), seed=1),
            trained(make_images()),
        ]
    ),
    "distribution": lambda: make_distilled(method="smoothed"),
    "no-extractors": plain,
}


@pytest.fixture(params=CASES)
def distilled(request) -> Distilled:
    return CASES[request.param]()


@pytest.fixture
def saved(tmp_path):
    """A folder with an artefact that has a drawn and a trained extractor."""
    CASES["mixed"]().save(tmp_path / "run")
    return tmp_path / "run"


def assert_same(one: Distilled, other: Distilled):
    assert same_images(one.base, other.base)
    assert torch.equal(one.labels, other.labels)
    assert one.labels.dtype == other.labels.dtype == torch.float64
    assert (one.label_kind, one.class_names) == (other.label_kind, other.class_names)
    assert one.preprocessing.fingerprint() == other.preprocessing.fingerprint()
    assert one.head == other.head
    prints = [[e.fingerprint() for e in each.extractors] for each in (one, other)]
    assert prints[0] == prints[1]


def test_what_was_saved_comes_back(distilled, tmp_path):
    distilled.save(tmp_path / "run")
    loaded = Distilled.load(str(tmp_path / "run"))
    assert_same(loaded, distilled)
    known = {key: value for key, value in loaded.provenance.items() if key != "versions"}
    assert known == json.loads(json.dumps(dict(distilled.provenance)))
    assert set(loaded.provenance["versions"]) >= {"cvxdistill", "torch", "numpy", "python"}
    specs = [[e.spec() for e in each.extractors] for each in (loaded, distilled)]
    assert specs[0] == specs[1]


def test_saving_what_was_loaded_gives_the_same_files(distilled, tmp_path):
    distilled.save(tmp_path / "one")
    Distilled.load(tmp_path / "one").save(tmp_path / "two")
    one, two = listing(tmp_path / "one"), listing(tmp_path / "two")
    assert one.keys() == two.keys()
    assert one[TENSORS] == two[TENSORS]
    manifests = [json.loads(each[MANIFEST]) for each in (one, two)]
    for manifest in manifests:
        # The order of metadata in a file of weights is not fixed, and so neither is its hash.
        manifest["files"] = manifest["files"][TENSORS]
    assert manifests[0] == manifests[1]


def test_predictions_are_the_same_after_loading(tmp_path):
    made = CASES["mixed"]()
    made.save(tmp_path / "run")
    loaded = Distilled.load(tmp_path / "run")
    for one, other in zip(made.extractors, loaded.extractors, strict=True):
        images = made.preprocessing(made.examples)
        assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("name", sorted(set(HEADS) - {"cvxpy"}))
def test_every_head_of_numbers_and_words_comes_back(name, tmp_path):
    head = HEADS_SAVED[name]
    plain(head=head).save(tmp_path / "run")
    loaded = Distilled.load(tmp_path / "run").head
    assert type(loaded) is type(head)
    features, labels = draw(6, 3), torch.eye(3, dtype=torch.float64).repeat(2, 1)
    assert torch.equal(loaded.fit(features, labels)(features), head.fit(features, labels)(features))


class OwnHead(Head):
    def fit(self, features, labels):
        raise AssertionError("never fitted here")


@pytest.mark.parametrize(
    ("head", "match"),
    [
        (CvxpyHead(), "CvxpyHead cannot be written to an artefact: its `factory` is a function"),
        (OwnHead(), "OwnHead cannot be written to an artefact: it is not among the registered"),
    ],
)
def test_a_head_that_no_file_can_hold_is_refused(head, match, tmp_path):
    with pytest.raises(InputError, match=match):
        plain(head=head).save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_provenance_that_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match="provenance of an artefact must be made of JSON values"):
        plain(provenance={"thing": object()}).save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_module_from_outside_is_named_and_not_stored(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    made = make_distilled(extractors=[wrap_module(module, (1, 8, 8), label="mine")])
    made.save(tmp_path / "run")
    loaded = Distilled.load(tmp_path / "run")
    assert loaded.extractors == ()
    assert sorted(listing(tmp_path / "run")) == [TENSORS, MANIFEST]
    record = json.loads((tmp_path / "run" / MANIFEST).read_text())["extractors"]
    assert record[0]["network"] == "given:label=mine"


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_any_labels_come_back_bit_for_bit(m, classes, seed, distribution):
    import tempfile

    names = tuple(f"class {index}" for index in range(classes))
    base = ImageSet(draw(m, 2, seed=seed).float(), torch.arange(m) % classes, names, name="any")
    labels = 10.0 ** draw(m, classes, seed=seed + 1)
    labels = labels / labels.sum(1, keepdim=True) if distribution else labels
    made = Distilled(base, labels, "distribution" if distribution else "scores", names)
    with tempfile.TemporaryDirectory() as folder:
        made.save(f"{folder}/run")
        assert_same(Distilled.load(f"{folder}/run"), made)


# Labels. ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "kind", "match"),
    [
        ([[0.5, 0.5], [1.0, 0.1]], "distribution", "rows that sum to 1.*Use kind `scores`"),
        ([[0.5, 0.5], [1.1, -0.1]], "distribution", "non-negative.*smallest entry -0.1"),
        ([[0.5, 0.5]], "scores", "`labels` must have 2 rows; got 1"),
        ([[0.5], [0.5]], "scores", "`labels` must have 2 columns; got 1"),
        ([[0.5, float("nan")], [0, 1]], "scores", "`labels` must be finite"),
        ([[0.5, 0.5], [0, 1]], "logits", "`label_kind` must be one of distribution, scores"),
    ],
)
def test_labels_that_do_not_fit_are_refused(rows, kind, match):
    base = make_images(2, classes=("a", "b"))
    with pytest.raises(InputError, match=match):
        Distilled(base, torch.tensor(rows, dtype=torch.float64), kind, ("a", "b"))


@pytest.mark.parametrize(
    ("dtype", "shape", "images"),
    [(torch.uint8, (3, 4, 4), 8), (torch.float32, (3, 4, 4), 32), (torch.float32, (5,), 32)],
)
def test_bits_are_those_of_the_stored_tensors(dtype, shape, images):
    examples = torch.zeros(6, *shape).to(dtype)
    base = ImageSet(examples, torch.arange(6) % 4, tuple("abcd"), name="toy")
    bits = Distilled(base, draw(6, 4), "scores", tuple("abcd")).bits
    assert bits.images == 6 * examples[0].numel() * images
    assert bits.labels == 6 * 4 * 64
    assert bits.hard_labels == 6 * 2
    assert bits.total == bits.images + bits.labels


@pytest.mark.parametrize("spec", ["float64", "int8", "int4", "topk:k=2", "low-rank:rank=1"])
@pytest.mark.parametrize("kind", ["scores", "distribution"])
def test_compressed_labels_come_back_with_the_bits_they_take(spec, kind, tmp_path):
    labels = draw(4, 3) if kind == "scores" else torch.softmax(draw(4, 3), 1)
    made = plain(labels=labels, label_kind=kind)
    made.save(tmp_path / "saved", codec=spec)
    made.stored_as(spec).save(tmp_path / "stored")
    expected = parse_codec(spec).encode(labels, kind)
    for name in ("saved", "stored"):
        loaded = Distilled.load(tmp_path / name)
        assert loaded.codec == parse_codec(spec)
        assert torch.equal(loaded.labels, expected.decode())
        assert loaded.bits.labels == expected.bits
        tensors = load_file(tmp_path / name / TENSORS)
        held = [tensor for key, tensor in tensors.items() if key.split(".")[0] == "labels"]
        assert sum(8 * len(one.view(torch.uint8).flatten()) for one in held) == expected.bits
        # Saved once more, nothing is encoded again.
        loaded.save(tmp_path / "again")
        assert_same(Distilled.load(tmp_path / "again"), loaded)
    assert torch.equal(made.labels, labels)
    assert made.bits.labels == 64 * 12


def test_labels_steered_by_a_metric_survive_saving(tmp_path):
    labels, root = draw(4, 3), draw(4, 4, seed=1)
    made = plain(labels=labels).stored_as("int2", metric=root @ root.mT)
    assert not torch.equal(made.labels, plain(labels=labels).stored_as("int2").labels)
    made.save(tmp_path / "run")
    assert torch.equal(Distilled.load(tmp_path / "run").labels, made.labels)


def test_an_artefact_of_before_codecs_is_float64(tmp_path):
    made = plain()
    made.save(tmp_path / "run")
    edit(tmp_path / "run", change_in("label_codec", to=KeyError))
    loaded = Distilled.load(tmp_path / "run")
    assert_same(loaded, made)
    assert loaded.stored is None
    assert str(loaded.codec) == "float64"


def test_other_labels_beside_the_stored_ones_are_refused():
    made = plain().stored_as("int8")
    with pytest.raises(InputError, match="must be those that are stored as `int8`"):
        dataclasses.replace(made, labels=draw(4, 3))
    changed = dataclasses.replace(made, labels=draw(4, 3), stored=None)
    assert changed.bits.labels == 64 * 12
    assert str(made.stored_as("float64").codec) == "float64"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("labels.step"), "made of the arrays labels, .*labels.step.*; got"),
        (lambda t: t.update({"labels.more": torch.zeros(1)}), "made of the arrays"),
        (lambda t: t.update({"labels": t["labels"][1:].clone()}), r"`labels` must be uint8 of sh"),
        (lambda t: t["labels.step"].fill_(float("nan")), "hold NaN or infinite"),
        (lambda t: t["labels.exponent"].fill_(30_000), "have 2.30000 for their size"),
        (lambda t: t.pop("labels"), "made of the arrays"),
    ],
)
def test_damaged_compressed_labels_are_refused(tmp_path, change, match):
    plain().save(tmp_path / "run", codec="int4")
    rewrite_tensors(tmp_path / "run", change)
    with pytest.raises(InputError, match=match):
        Distilled.load(tmp_path / "run")


def test_a_codec_that_is_not_the_one_of_the_labels_is_found(tmp_path):
    plain().save(tmp_path / "run", codec="int4")
    for spec, match in (
        ("int8", "`labels` must be uint8 of shape .* for 4 examples and 3 classes"),
        ("float64", "made of the arrays labels; got"),
        ("gzip", "not a valid manifest: label_codec: .*`label codec` must be one of"),
    ):
        edit(tmp_path / "run", change_in("label_codec", to=spec))
        with pytest.raises(InputError, match=match):
            Distilled.load(tmp_path / "run")


def test_true_labels_exist_only_within_the_classes():
    made = plain()
    assert made.true_labels.tolist() == made.base.labels.tolist()
    other = Distilled(made.base, draw(4, 2), "scores", ("x", "y"))
    assert other.true_labels is None


@pytest.mark.parametrize("case", ["bytes", "distribution", "zca", "features"])
def test_a_tiny_model_trains_on_the_dataset(case):
    made = CASES[case]()
    dataset = made.as_dataset()
    assert len(dataset) == len(made) == 6
    assert {part.dtype for part in dataset[0]} == {torch.float32}
    assert torch.equal(dataset.tensors[0], made.preprocessing(made.examples))
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    losses = []
    loader = DataLoader(dataset, batch_size=3, generator=torch.Generator().manual_seed(0))
    model(dataset.tensors[0])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(20):
        losses.append(0.0)
        for images, labels in loader:
            loss = (model(images) - labels).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1] += loss.item()
    assert losses[-1] < 0.5 * losses[0]


# Tampering. -------------------------------------------------------------------------------------


def test_one_changed_byte_in_any_file_is_found(saved):
    for path in sorted(saved.iterdir()):
        if path.name == MANIFEST:
            continue
        content = path.read_bytes()
        for position in (0, 9, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[position] ^= 1
            path.write_bytes(changed)
            with pytest.raises(InputError, match=f"{path.name}` was changed after it was written"):
                Distilled.load(saved)
        path.write_bytes(content)
    Distilled.load(saved)


def test_every_truncated_or_missing_file_is_found(saved):
    for path in sorted(saved.iterdir()):
        content = path.read_bytes()
        for kept in (0, 10, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:kept])
            with pytest.raises(InputError, match=r"manifest|changed after"):
                Distilled.load(saved)
        path.unlink()
        with pytest.raises(InputError, match=r"cannot be read|lacks"):
            Distilled.load(saved)
        path.write_bytes(content)


@given(st.data())
def test_no_byte_of_the_manifest_can_break_loading(data):
    """Whatever is in the manifest, loading works or says `InputError`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plain(m=1).save(f"{folder}/run")
        path = f"{folder}/run/{MANIFEST}"
        with open(path, "rb") as file:
            content = bytearray(file.read())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
        with open(path, "wb") as file:
            file.write(content)
        with contextlib.suppress(InputError):
            Distilled.load(f"{folder}/run")


def edit(folder, change):
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


MANIFEST_KEYS = (
    "format", "kind", "shape", "label_kind", "label_codec", "class_names", "base", "content_hashes",
    "preprocessing", "head", "extractors", "recipe", "provenance", "files",
)  # fmt: skip


def test_the_keys_are_those_tested_here(saved):
    assert tuple(json.loads((saved / MANIFEST).read_text())) == MANIFEST_KEYS


# Artefacts of before labels could be compressed have no such key.
@pytest.mark.parametrize("key", [key for key in MANIFEST_KEYS if key != "label_codec"])
def test_a_missing_key_is_found(saved, key):
    edit(saved, lambda manifest: manifest.pop(key))
    with pytest.raises(InputError, match=f"not a valid manifest: {key}: "):
        Distilled.load(saved)


# A recipe may be missing, which is written as null.
WRONG_TYPES = [
    (key, value)
    for key in MANIFEST_KEYS
    for value in (None, 5, "text", [5])
    if (key, value) != ("recipe", None)
]


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_found(saved, key, value):
    edit(saved, lambda manifest: manifest.update({key: value}))
    with pytest.raises(InputError, match=r"not a valid manifest|says images"):
        Distilled.load(saved)


def change_in(*path, to):
    def change(manifest):
        for step in path[:-1]:
            manifest = manifest[step]
        if to is KeyError:
            del manifest[path[-1]]
        else:
            manifest[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (change_in("more", to=1), "not a valid manifest: more"),
        (change_in("format", to="cvxdistill.distilled/2"), "not a valid manifest: format"),
        (change_in("kind", to="features"), r"says features of shape \(1, 8, 8\); got images"),
        (change_in("shape", to=[1, 8, 9]), r"says images of shape \(1, 8, 9\); got images"),
        (change_in("label_kind", to="distribution"), "must be non-negative"),
        (change_in("label_kind", to="logits"), "not a valid manifest: label_kind"),
        (change_in("class_names", to=["a", "b"]), "`labels` must have 2 columns; got 3"),
        (change_in("base", "class_names", to=["a"]), "`labels` must lie in 0..0"),
        (change_in("base", "class_names", to=KeyError), "not a valid manifest: base.class_names"),
        (change_in("base", "name", to=7), "not a valid manifest: base.name"),
        (change_in("base", "more", to=7), "not a valid manifest: base.more"),
        (change_in("content_hashes", 0, to="00"), "do not match their content hashes"),
        (change_in("content_hashes", to=[]), "do not match their content hashes"),
        (change_in("preprocessing", "kind", to="none"), "preprocessing `none` is made of no tens"),
        (change_in("preprocessing", "kind", to="other"), "`preprocessing kind` must be one of"),
        (change_in("preprocessing", "fingerprint", to="00"), "does not match its fingerprint"),
        (change_in("preprocessing", to={}), "`preprocessing kind` must be one of"),
        (change_in("head", "name", to="rigde"), "`head` must be one of.*Did you mean `ridge`"),
        (change_in("head", to={}), "`head` must be one of"),
        (change_in("head", "options", "l2", to=-1), "`l2` must be finite and zero or more; got -1"),
        (change_in("head", "options", "l2", to="big"), "the head's options do not fit"),
        (change_in("head", "options", "l3", to=1), "the head's options do not fit.*l3"),
        (change_in("head", "options", to=[1]), "the head's options do not fit"),
        (change_in("extractors", 0, "seed", to=5), "expected the extractor"),
        (change_in("extractors", 0, "seed", to=None), "trained or given"),
        (change_in("extractors", 0, "seed", to=KeyError), "record of an extractor must have"),
        (change_in("extractors", 0, "network", to="lenet5"), "`network` must be one of"),
        (change_in("extractors", 0, "network", to=3), "`network` in the record"),
        (change_in("extractors", 0, "fingerprint", to="00"), "expected the extractor"),
        (change_in("extractors", 0, to={}), "record of an extractor must have"),
        (change_in("extractors", 1, "file", to=KeyError), "trained or given"),
        (change_in("extractors", 1, "fingerprint", to=KeyError), "is another extractor"),
        (change_in("extractors", 1, "file", to="../other"), "does not name `../other`"),
        (change_in("extractors", 1, "file", to=TENSORS), "extractor file"),
        (change_in("files", TENSORS, to="00"), "was changed after it was written"),
        (change_in("files", TENSORS, to=KeyError), f"does not name `{TENSORS}`"),
        (change_in("files", "extractor_1.safetensors", to=KeyError), "does not name `extractor_1"),
        (change_in("files", "../outside", to="00"), "lacks `../outside`"),
        (change_in("files", "..", to="00"), r"lacks `\.\.`"),
        (change_in("files", "", to="00"), "lacks ``"),
    ],
)
def test_an_edited_manifest_is_refused(saved, change, match):
    edit(saved, change)
    with pytest.raises(InputError, match=match):
        Distilled.load(saved)


def test_a_file_outside_is_not_read_even_with_the_right_hash(saved):
    from cvxdistill.manifest import sha256_of

    outside = saved.parent / "outside"
    outside.write_text("secret")
    for name in ("../outside", str(outside)):
        edit(saved, change_in("files", name, to=sha256_of(outside)))
        with pytest.raises(InputError, match="lacks `"):
            Distilled.load(saved)


def rewrite_tensors(folder, change):
    from safetensors.torch import load_file, save_file

    from cvxdistill.manifest import sha256_of

    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)
    edit(folder, change_in("files", TENSORS, to=sha256_of(folder / TENSORS)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.update(examples=t["examples"].flip(0)), "do not match their content hashes"),
        (lambda t: t.update(labels=t["labels"][:1].clone()), "`labels` must have 6 rows; got 1"),
        (lambda t: t["labels"][0].fill_(float("nan")), "`labels` must be finite"),
        (lambda t: t.pop("base_indices"), "holds other tensors"),
        (lambda t: t.update(more=torch.zeros(1)), "holds other tensors"),
        (lambda t: t["base_labels"][0].fill_(3), "`labels` must lie in 0..2"),
        (lambda t: t.update(base_labels=t["base_labels"].double()), "vector of integer class"),
        (lambda t: t["preprocessing.mean"].add_(1.0), "does not match its fingerprint"),
        (lambda t: t.pop("preprocessing.std"), "preprocessing `normalise` is made of mean, std"),
        (lambda t: t.update({"preprocessing.zca_mean": torch.zeros(64)}), "made of mean, std"),
        (lambda t: t.update(labels=t["labels"].long()), "`labels` must be a floating-point"),
    ],
)
def test_tensors_that_contradict_the_manifest_are_refused(saved, change, match):
    rewrite_tensors(saved, change)
    with pytest.raises(InputError, match=match):
        Distilled.load(saved)


def test_no_pickle_anywhere(saved, monkeypatch):
    made = Distilled.load(saved)

    def refuse(*_, **__):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)
    made.save(saved.parent / "again")
    Distilled.load(saved.parent / "again")
    for path in saved.iterdir():
        assert path.suffix in (".safetensors", ".json")


# Folders. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["missing", "empty", "file"])
def test_what_is_no_artefact_is_said_to_be_none(tmp_path, where):
    path = tmp_path / where
    if where == "empty":
        path.mkdir()
    elif where == "file":
        path.write_text("text")
    with pytest.raises(InputError, match=r"is not a distilled set: `manifest\.json`"):
        Distilled.load(path)


def make_foreign(folder, kind):
    folder.mkdir()
    if kind == "foreign":
        (folder / "thesis.tex").write_text("years of work")
    elif kind == "other-manifest":
        (folder / MANIFEST).write_text(json.dumps({"format": "web app", "files": {}}))
    elif kind == "broken-manifest":
        (folder / MANIFEST).write_text("{")
    elif kind == "list-manifest":
        (folder / MANIFEST).write_text("[1]")
    elif kind == "subfolder":
        (folder / "sub").mkdir()
    else:
        folder.rmdir()
        plain().save(folder)
        (folder / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    "kind",
    ["foreign", "other-manifest", "broken-manifest", "list-manifest", "subfolder", "own-and-notes"],
)
def test_a_folder_with_foreign_files_is_left_untouched(tmp_path, kind):
    make_foreign(tmp_path / "run", kind)
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"holds other files .* is left as it is. Choose a new"):
        plain().save(tmp_path / "run")
    assert listing(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_left_untouched(tmp_path):
    (tmp_path / "run").write_text("text")
    with pytest.raises(InputError, match="is a file; give a folder"):
        plain().save(tmp_path / "run")
    assert listing(tmp_path) == {"run": b"text"}


@pytest.mark.parametrize("spelling", [".", "..", "{here}"])
def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch, spelling):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the working folder or holds it"):
        plain().save(spelling.format(here=tmp_path / "here"))
    assert listing(tmp_path) == {"here": None}


def test_an_own_artefact_is_replaced_with_all_that_lay_beside_it(tmp_path):
    CASES["mixed"]().save(tmp_path / "run")
    for name in RUN_FILES:
        (tmp_path / "run" / name).write_text("old")
    made = plain()
    made.save(tmp_path / "run")
    assert_same(Distilled.load(tmp_path / "run"), made)
    assert sorted(listing(tmp_path)) == ["run", f"run/{TENSORS}", f"run/{MANIFEST}"]


def test_missing_parents_are_made_and_the_folder_is_readable(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "b" / "run", tmp_path / "empty"):
        plain().save(folder)
        assert len(Distilled.load(folder)) == 4
        umask = os.umask(0)
        os.umask(umask)
        assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("room", ["safetensors.torch.save_file", "cvxdistill.artifact.sha256_of"])
def test_an_interrupted_save_leaves_nothing_behind(tmp_path, monkeypatch, room, error):
    def fail(*_, **__):
        raise error("no space left")

    old = plain(labels=draw(4, 3, seed=7))
    old.save(tmp_path / "old")
    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(room, fail)
        for folder in ("new", "old"):
            with pytest.raises(error):
                plain().save(tmp_path / folder)
    assert listing(tmp_path) == before
    assert_same(Distilled.load(tmp_path / "old"), old)
