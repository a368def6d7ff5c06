"""Label storage by name."""

from cvxdistill.codecs.base import ArrayForm, EntryCodec, LabelCodec, StoredLabels
from cvxdistill.codecs.bits import Bits
from cvxdistill.codecs.feedback import metric_error, round_rows
from cvxdistill.codecs.floats import BFloat16, Float16, Float32, Float64
from cvxdistill.codecs.integers import Int2, Int3, Int4, Int8
from cvxdistill.codecs.kinds import LABEL_KINDS, check_label_kind
from cvxdistill.codecs.lowrank import LowRankCodec
from cvxdistill.codecs.topk import TopKCodec
from cvxdistill.specs import parse_spec

CODECS: dict[str, type[LabelCodec]] = {
    "float64": Float64,
    "float32": Float32,
    "float16": Float16,
    "bfloat16": BFloat16,
    "int8": Int8,
    "int4": Int4,
    "int3": Int3,
    "int2": Int2,
    "topk": TopKCodec,
    "low-rank": LowRankCodec,
}

__all__ = [
    "CODECS",
    "LABEL_KINDS",
    "ArrayForm",
    "BFloat16",
    "Bits",
    "EntryCodec",
    "Float16",
    "Float32",
    "Float64",
    "Int2",
    "Int3",
    "Int4",
    "Int8",
    "LabelCodec",
    "LowRankCodec",
    "StoredLabels",
    "TopKCodec",
    "check_label_kind",
    "metric_error",
    "parse_codec",
    "round_rows",
]


def parse_codec(spec: str) -> LabelCodec:
    """Read a codec as a user types it: `int8`, or `topk:k=3,values=int8`.

    Raises:
        InputError: an unknown name or option, or a value of the wrong type or out of range.

    Example:
        >>> parse_codec("int4").bits(100, 10, "distribution")
        4000
    """
    return parse_spec(spec, CODECS, what="label codec")
