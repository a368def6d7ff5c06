"""Extractors trained on the labelled target."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from cvxdistill.checks import check_positive
from cvxdistill.data.base import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor, Network
from cvxdistill.features.initialise import draw_weights
from cvxdistill.features.preprocess import Preprocessing
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import derive_seed, generator

_WARM_UP = 0.1


def train_extractor(
    network: Network,
    data: ImageSet,
    *,
    preprocessing: Preprocessing,
    steps: int,
    batch_size: int = 256,
    lr: float = 1e-3,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Extractor:
    """Train a network with a linear classifier on `data`, and hold its trunk still.

    Choose it when the labels are meant for one extractor, known beforehand: trained features are
    fewer and far better than drawn ones. Give it the training split alone.

    Adam with cross-entropy; the learning rate rises linearly over the first tenth of the steps
    and falls along half a cosine to zero. All draws come from streams under `seed`; on a CPU with
    the same number of threads, equal seeds give equal weights.

    Sources: Kingma and Ba (2015), "Adam", <https://arxiv.org/abs/1412.6980>; Loshchilov and Hutter
    (2017), "SGDR", <https://arxiv.org/abs/1608.03983>, for the cosine.

    Args:
        network: the recipe; one with weights.
        data: labelled training images `(n, c, h, w)`, or features `(n, d)`.
        preprocessing: what is done to each batch first, and must be done before the features.
        steps: number of batches.
        batch_size: examples in a batch; all of them where there are fewer.
        lr: the highest learning rate.
        seed: the user's seed.
        device: where to train; the extractor stays there.
        progress: told the number of steps done.

    Raises:
        InputError: a network without weights, no examples, an option out of range, or a loss that
            stops being finite.

    Example:
        >>> from cvxdistill.features import MLP
        >>> data = ImageSet(torch.rand(40, 4), torch.arange(40) % 2, ("a", "b"), name="toy")
        >>> extractor = train_extractor(
        ...     MLP(width=8), data, preprocessing=Preprocessing(), steps=2, seed=0
        ... )
        >>> extractor.num_features, extractor.trained
        (8, True)
    """
    if not network.trainable:
        raise InputError(f"`{network}` has no weights to train. Use `draw_extractor`.")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"`{name}` must be 1 or more; got {value}.")
    check_positive("lr", lr)
    if len(data) == 0:
        raise InputError("training needs labelled examples; got none.")
    derived = derive_seed(seed, "trained extractor")
    trunk = network.build(data.shape, torch.Generator().manual_seed(derived))
    with torch.no_grad():
        # In eval mode, so that the blank image leaves no trace in running statistics.
        width = int(trunk.eval()(torch.zeros(1, *data.shape)).shape[1])
    with torch.device("meta"):
        classifier: nn.Module = nn.Linear(width, data.num_classes)
    classifier = draw_weights(classifier.to_empty(device="cpu"), generator(derived, "classifier"))
    losses = _descend(
        nn.Sequential(trunk, classifier).to(device),
        data,
        preprocessing.to(device),
        batches=_batches(len(data), batch_size, steps, generator(derived, "batches")),
        rates=[_rate(step, steps, lr) for step in range(steps)],
        progress=progress,
    )
    if not bool(torch.isfinite(losses).all()):
        raise InputError(
            f"training `{network}` diverged: the loss stopped being finite. Lower `lr`; it was "
            f"{lr}."
        )
    return Extractor(network, trunk, data.shape, seed=derived, trained=True)


def _descend(
    model: nn.Module,
    data: ImageSet,
    preprocessing: Preprocessing,
    *,
    batches: Iterable[Tensor],
    rates: list[float],
    progress: Progress,
) -> Tensor:
    """Take one Adam step a batch and return the loss of each, before its step."""
    parameters = list(model.parameters())
    optimiser = torch.optim.Adam(parameters)
    device = parameters[0].device
    losses: list[Tensor] = []
    model.train()
    for rate, positions in zip(rates, batches, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        picked = positions.to(data.images.device)
        images = preprocessing(data.images[picked].to(device))
        loss = nn.functional.cross_entropy(model(images), data.labels[picked].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
        progress("train", len(losses), len(rates))
    return torch.stack(losses)


def _batches(
    count: int, batch_size: int, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield the positions of `steps` batches: fresh permutations, the rest of each left out."""
    size = min(batch_size, count)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size]
        order = order[size:]


def _rate(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine towards zero."""
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return highest * (step + 1) / rise
    return highest * 0.5 * (1.0 + math.cos(math.pi * (step - rise + 1) / (steps - rise + 1)))
