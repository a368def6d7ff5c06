"""Spec strings: every type of value, and every way to get one wrong."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvxdistill.errors import InputError
from cvxdistill.specs import parse_spec


@dataclasses.dataclass(frozen=True)
class Thing:
    count: int = 1
    share: float = 0.5
    word: str = "x"
    flag: bool = False
    perhaps: int | None = None
    weight: float | torch.Tensor = 2.0

    def __post_init__(self):
        if self.count < 0:
            raise InputError("`count` must not be negative.")


REGISTRY = {"thing": Thing}


def parse(spec):
    return parse_spec(spec, REGISTRY, what="thing")


def test_values_are_read_as_their_fields_declare():
    assert parse(" thing ") == Thing()
    assert parse("thing:count=3, share=1e-3,word=no=w,flag=TRUE,perhaps=7") == Thing(
        3, 1e-3, "no=w", True, 7
    )
    assert parse("thing:perhaps=none,word=none,flag=false") == Thing(word="none")
    assert parse("thing:weight=0.25") == Thing(weight=0.25)


@given(
    st.integers(0, 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(categories=["L", "N"]), min_size=1),
    st.booleans(),
    st.none() | st.integers(),
)
def test_what_is_written_is_read_back(count, share, word, flag, perhaps):
    thing = Thing(count, share, word, flag, perhaps)
    listed = ",".join(f"{key}={value}" for key, value in dataclasses.asdict(thing).items())
    assert parse(f"thing:{listed}") == thing


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("", "`thing` must be one of thing; got ``"),
        ("thin", "got `thin`. Did you mean `thing`?"),
        ("thing:", "options of `thing` are missing after the colon"),
        ("thing:cuont=1", "`option of thing` must be one of .*; got `cuont`. Did you mean `count`"),
        ("thing:count", "option `count` of `thing` needs a value"),
        ("thing:count=", "option `count` of `thing` needs a value"),
        ("thing:count=1,", "`option of thing` must be one of"),
        ("thing:count=1,count=2", "given twice"),
        ("thing:count=1.5", "option `count` of `thing` must be a whole number; got `1.5`"),
        ("thing:count=none", "must be a whole number; got `none`"),
        ("thing:share=half", "must be a number; got `half`"),
        ("thing:flag=1", "must be true or false; got `1`"),
        ("thing:perhaps=maybe", "must be a whole number; got `maybe`"),
        ("thing:count=-1", "`count` must not be negative"),
    ],
)
def test_mistakes_are_named(spec, match):
    with pytest.raises(InputError, match=match):
        parse(spec)
