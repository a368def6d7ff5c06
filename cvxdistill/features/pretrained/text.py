"""`text:MODEL`: features of texts through sentence-transformers."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.features.pretrained.base import unavailable
from cvxdistill.specs import parse_spec


@dataclasses.dataclass(frozen=True)
class TextModel:
    """A text encoder by name: `text:MODEL[,option=value...]`; needs the extra `text`.

    Choose it for texts: features come out as for images, and everything after them is the same.

    Source: Reimers and Gurevych (2019), "Sentence-BERT", <https://arxiv.org/abs/1908.10084>.

    Attributes:
        model: a folder that sentence-transformers or transformers wrote, or a name on the Hub,
            which is fetched where it is not cached.
        prompt: put before each text with a space, as some models want (`query:`).
        max_length: tokens of a text at most; the model's own limit if unset.
        normalise: bring each row to length 1.
    """

    model: str
    prompt: str | None = None
    max_length: int | None = None
    normalise: bool = False

    name: ClassVar[str] = "text"

    def load(self, device: torch.device | str = "cpu") -> "TextEncoder":
        """Return the encoder, frozen and in eval mode.

        Raises:
            InputError: sentence-transformers is missing, or the model cannot be had.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise InputError(
                "`text:MODEL` needs sentence-transformers, which cannot be imported: "
                'pip install "cvxdistill[text]".'
            ) from error
        place = Path(self.model).expanduser()
        local = place.is_dir()
        try:
            with _without_bars():
                loaded = SentenceTransformer(
                    str(place) if local else self.model, device=str(device), local_files_only=local
                )
        except Exception as error:
            if local:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"`{self.model}` cannot be read as a text model: {first}."
                ) from error
            raise unavailable(f"text:{self.model}", error) from error
        if self.max_length is not None:
            loaded.max_seq_length = self.max_length
        return TextEncoder(self, loaded)

    def __str__(self) -> str:
        """Return the spec that `parse_text_model` reads."""
        fields = dataclasses.fields(self)[1:]
        options = {field.name: getattr(self, field.name) for field in fields}
        changed = [f"{f.name}={options[f.name]}" for f in fields if options[f.name] != f.default]
        return ",".join([f"{self.name}:{self.model}", *changed])


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing bars of its own; how far work is, is told elsewhere."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TextEncoder:
    """A text model held still: texts in, features `(n, d)` out.

    Attributes:
        recipe: what it was loaded from.
        num_features: `d`.
    """

    def __init__(self, recipe: TextModel, model: Any) -> None:
        self.recipe = recipe
        self.model = model.requires_grad_(False).eval()
        self.num_features = int(self._encode(["a"]).shape[1])

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the features of texts, `(n, d)` float32 on the device of the model."""
        return self._encode(texts).float()

    def _encode(self, texts: Sequence[str]) -> Tensor:
        self.model.eval()
        features: Tensor = self.model.encode(
            list(texts),
            batch_size=max(len(texts), 1),
            prompt=None if self.recipe.prompt is None else f"{self.recipe.prompt} ",
            convert_to_tensor=True,
            normalize_embeddings=self.recipe.normalise,
            show_progress_bar=False,
        )
        # What comes out of inference mode may not enter autograd.
        return features.clone()

    def fingerprint(self) -> str:
        """SHA-256 over weights, tokeniser, stages and options; not over where the model lies."""
        options = dataclasses.replace(self.recipe, model="", max_length=self.model.max_seq_length)
        digest = hashlib.sha256(str(options).encode())
        digest.update(str(self.model).encode())
        tokeniser = self.model.tokenizer
        fast = getattr(tokeniser, "backend_tokenizer", None)
        digest.update((fast.to_str() if fast is not None else repr(tokeniser)).encode())
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            plain = value.detach().cpu().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def spec(self) -> dict[str, Any]:
        """Return what a manifest records."""
        return {
            "network": str(self.recipe),
            "num_features": self.num_features,
            "fingerprint": self.fingerprint(),
        }


def parse_text_model(spec: str) -> TextModel:
    """Read a text model as a user types it: `text:MODEL[,option=value...]`.

    Raises:
        InputError: no model, an unknown option, or a value of the wrong type.

    Example:
        >>> parse_text_model("text:models/minilm,normalise=true").normalise
        True
    """
    first, comma, options = spec.strip().removeprefix("text:").partition(",")
    if not first or "=" in first:
        raise InputError(f"`{spec}` must name a model or its folder: text:MODEL.")
    rest = f",{options}" if comma else ""
    return parse_spec(f"text:model={first}{rest}", {"text": TextModel}, what="text model")
