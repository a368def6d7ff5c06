"""The contract of label codecs, for every registered one with several options."""

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_makers import KINDS, labels_of, some_labels, some_metric

from cvxdistill.codecs import CODECS, StoredLabels, metric_error, parse_codec
from cvxdistill.errors import InputError

SPECS = {
    "float64": ("float64",),
    "float32": ("float32",),
    "float16": ("float16",),
    "bfloat16": ("bfloat16",),
    "int8": ("int8",),
    "int4": ("int4",),
    "int3": ("int3",),
    "int2": ("int2",),
    "topk": ("topk", "topk:k=1", "topk:k=2,values=int8", "topk:k=40,values=int4"),
    "low-rank": ("low-rank", "low-rank:rank=1", "low-rank:rank=40", "low-rank:rank=3,values=int8"),
}
every_codec = pytest.mark.parametrize("spec", [spec for specs in SPECS.values() for spec in specs])
every_kind = pytest.mark.parametrize("kind", KINDS)
# Each of many cases draws a few matrices; together they are hundreds.
few = settings(max_examples=4)


def test_every_codec_has_a_case_of_its_class_and_name():
    assert set(SPECS) == set(CODECS), "give new codecs a case here"
    for name, specs in SPECS.items():
        for spec in specs:
            assert type(parse_codec(spec)) is CODECS[name]
        assert CODECS[name].name == name


@every_codec
def test_the_spec_of_a_codec_is_read_back(spec):
    assert parse_codec(str(parse_codec(spec))) == parse_codec(spec)


@every_codec
@every_kind
@few
@given(data=st.data())
def test_labels_come_back_within_the_bound_from_the_bits_that_were_said(spec, kind, data):
    labels, codec = data.draw(labels_of(kind)), parse_codec(spec)
    kept = labels.clone()
    stored = codec.encode(labels, kind)
    decoded = stored.decode()
    assert torch.equal(labels, kept)
    assert decoded.shape == labels.shape
    assert decoded.dtype == torch.float64
    assert bool(torch.isfinite(decoded).all())
    if kind == "distribution":
        assert float(decoded.min()) >= 0
        assert float((decoded.sum(1) - 1).abs().max()) <= 1e-12
    # Squares of the largest labels have no place in float64, so both sides are scaled alike.
    size = float(labels.abs().max()) or 1.0
    error = ((decoded - labels) / size).norm(dim=1)
    rounding = 1e-12 * labels.shape[1]
    assert bool((error <= codec.error_bound(labels, kind) / size * (1 + 1e-9) + rounding).all())
    if codec.exact:
        assert torch.equal(decoded, labels)
    counted = sum(8 * len(array.view(torch.uint8).flatten()) for array in stored.arrays.values())
    assert stored.bits == codec.bits(*labels.shape, kind) == counted
    if kind in codec.stable:
        twice = codec.encode(decoded, kind).decode()
        assert float((twice - decoded).abs().max()) <= 1e-12 * size


@every_codec
def test_scores_of_another_size_are_stored_as_well(spec):
    labels, codec = some_labels("scores"), parse_codec(spec)
    decoded = codec.encode(labels, "scores").decode()
    for exponent in (-900, -3, 5, 900):
        other = codec.encode(labels * 2.0**exponent, "scores").decode()
        assert torch.equal(other, decoded * 2.0**exponent)


@every_codec
@every_kind
def test_a_metric_never_makes_its_own_error_larger(spec, kind):
    codec = parse_codec(spec)
    for rank in (6, 3):
        labels, metric = some_labels(kind, m=6, seed=rank), some_metric(6, rank=rank)
        plain = codec.encode(labels, kind).decode() - labels
        steered = codec.encode(labels, kind, metric=metric).decode() - labels
        assert metric_error(steered, metric) <= metric_error(plain, metric)


@every_codec
@every_kind
def test_the_identity_as_metric_changes_nothing_that_matters(spec, kind):
    labels, codec = some_labels(kind, m=8), parse_codec(spec)
    plain = codec.encode(labels, kind).decode() - labels
    same = codec.encode(labels, kind, metric=torch.eye(8).double()).decode() - labels
    assert float(same.norm()) == pytest.approx(float(plain.norm()), rel=0.05, abs=1e-15)


@every_codec
@every_kind
def test_permuting_examples_permutes_what_is_stored(spec, kind):
    labels, codec = some_labels(kind), parse_codec(spec)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    one, other = codec.encode(labels, kind).decode(), codec.encode(labels[order], kind).decode()
    assert float((one[order] - other).abs().max()) <= float(codec.error_bound(labels, kind).max())
    if kind in codec.stable:
        assert float((one[order] - other).abs().max()) < 1e-12


@every_codec
@every_kind
def test_float32_labels_and_gradients_are_no_obstacle(spec, kind):
    labels = some_labels(kind).float().requires_grad_()
    decoded = parse_codec(spec).encode(labels, kind).decode()
    assert decoded.dtype == torch.float64
    assert not decoded.requires_grad


@every_codec
@every_kind
def test_arrays_that_do_not_belong_are_named(spec, kind):
    codec = parse_codec(spec)
    stored = codec.encode(some_labels(kind), kind)
    for name, array in stored.arrays.items():
        others = {key: value for key, value in stored.arrays.items() if key != name}
        damaged = {
            "made of the arrays": others,
            rf"`{name}` must be .* of shape": {**others, name: array[:-1]},
            rf"`{name}` must be .*; got int32": {**others, name: array.to(torch.int32)},
        }
        for match, arrays in damaged.items():
            with pytest.raises(InputError, match=match) as caught:
                StoredLabels(codec, kind, stored.shape, arrays)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"made of the arrays .*; got .*labels\.more"):
        StoredLabels(codec, kind, stored.shape, {**stored.arrays, "labels.more": torch.zeros(1)})


@every_codec
@every_kind
@few
@given(data=st.data())
def test_whatever_the_bytes_are_decoding_works_or_says_why(spec, kind, data):
    codec = parse_codec(spec)
    stored = codec.encode(some_labels(kind, m=4), kind)
    name = data.draw(st.sampled_from(sorted(stored.arrays)))
    damaged = stored.arrays[name].clone()
    raw = damaged.view(torch.uint8).flatten()
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        arrays = {**stored.arrays, name: damaged}
        decoded = StoredLabels(codec, kind, stored.shape, arrays).decode()
        assert bool(torch.isfinite(decoded).all())
        if kind == "distribution" and not codec.exact:
            assert float((decoded.sum(1) - 1).abs().max()) <= 1e-9


@every_codec
@pytest.mark.parametrize(
    ("labels", "kind", "match"),
    [
        (torch.tensor([[0.5, float("nan")]]), "scores", "must be finite"),
        (torch.tensor([[0.5, 0.6]]), "distribution", "rows that sum to 1"),
        (torch.tensor([[1.5, -0.5]]), "distribution", "must be non-negative"),
        (torch.tensor([0.5, 0.5]), "scores", "floating-point matrix"),
        (torch.zeros(1, 2, 2), "scores", r"must be \(m, C\)"),
        (torch.zeros(0, 3), "scores", "must not be empty"),
        (torch.tensor([[1, 0]]), "distribution", "floating-point matrix"),
        (torch.tensor([[1.0, 0.0]]), "logits", "must be one of distribution, scores"),
    ],
)
def test_what_are_no_labels_is_refused(spec, labels, kind, match):
    with pytest.raises(InputError, match=match):
        parse_codec(spec).encode(labels, kind)


@every_codec
def test_a_metric_of_another_size_is_refused(spec):
    with pytest.raises(InputError, match="`metric` must have 20 rows"):
        parse_codec(spec).encode(some_labels("scores"), "scores", metric=some_metric(5))


@every_codec
def test_only_the_codec_that_stored_labels_reads_them(spec):
    stored = parse_codec("int8").encode(some_labels("scores"), "scores")
    if spec != "int8":
        with pytest.raises(InputError, match="stored as `int8` cannot be read as"):
            parse_codec(spec).decode(stored)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("int9", "`label codec` must be one of .* Did you mean"),
        ("int8:k=2", "`int8` takes no options"),
        ("topk:k=0", "`k` must be 1 or more"),
        ("topk:values=int1", "`values` must be one of float16, int8, int4"),
        ("topk:k=two", "must be a whole number"),
        ("low-rank:rank=0", "`rank` must be 1 or more"),
        ("low-rank:values=float64", "`values` must be one of float16, int8"),
    ],
)
def test_mistakes_in_a_spec_are_named(spec, match):
    with pytest.raises(InputError, match=match):
        parse_codec(spec)
