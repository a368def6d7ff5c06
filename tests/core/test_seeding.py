"""Streams: named, independent, the same everywhere, and apart from the global generator."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.seeding import derive_seed, generator


def test_a_stream_is_the_same_on_every_platform():
    # Written down once: a change here changes every published number.
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(0, "base") == 7013668211830637271
    assert derive_seed(3, "extractor", 2) == 4620733010662420548


@given(
    st.integers(min_value=0, max_value=2**63 - 1),
    st.lists(st.sampled_from("ab/ é") | st.integers()),
)
def test_seeds_are_non_negative_and_fit_63_bits(seed, path):
    assert 0 <= derive_seed(seed, *path) < 2**63


def test_seeds_and_names_and_indices_give_other_streams():
    seeds = [derive_seed(seed, name, k) for seed in range(5) for name in "abc" for k in range(5)]
    assert len(set(seeds)) == len(seeds)


def test_generators_start_afresh():
    first, again = (torch.rand(5, generator=generator(7, "draw")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(5, generator=generator(8, "draw")))
    assert not torch.equal(first, torch.rand(5, generator=generator(7, "other")))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    torch.rand(5, generator=generator(0, "draw"))
    assert torch.equal(before, torch.get_rng_state())
