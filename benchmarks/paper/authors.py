"""Our steps beside those of the authors' code, on the same cores.

Run with `python -m benchmarks.paper.authors --authors CHECKOUT --data-root PATH`, where the
checkout is <https://github.com/ondrejbohdal/label-distillation> (Bohdal, Yang and Hospedales 2020).
Their training loops run as they are, with the settings of their MNIST runs: 100 base examples, 50
a step, 1,024 target examples a step, LeNet. They are timed twice: with their own data loader, as
they are run, and with the batches given to them ready in memory, so that the difference in the
method and in the loading can be told apart. Ours always loads its own batches. All take turns.

Before that, both take a few steps from the same weights on the same batches, and the labels that
come out are compared.
"""

import argparse
import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvxdistill.choose import choose_base
from cvxdistill.data import load_splits
from cvxdistill.features import LeNet, Preprocessing
from cvxdistill.heads import RidgeHead
from cvxdistill.methods import DistillTask, OnlineRidge, SecondOrder
from cvxdistill.methods.bohdal2020_ridge import RidgeLearner
from cvxdistill.methods.bohdal2020_second_order import SecondOrderLearner

METHODS: dict[str, tuple[str, str, OnlineRidge | SecondOrder]] = {
    "online-ridge": ("label_distillation_rr", "rr", OnlineRidge()),
    "second-order": ("label_distillation_or2", "or2", SecondOrder()),
}
CONFIG = "experiment_configs/ld_100be_50ib_mn_to_mn_bl_cnn_400e_{}_1234s_v0.json"
MEAN, STD = 0.1307, 0.3081
CHECKED_STEPS = 3
# Their weights in the order of ours.
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")


class Authors:
    """One of their two training loops, with what it needs between two calls.

    Args:
        name: ours of the method.
        checkout: their repository.
        base: `(m, 1, 28, 28)` base examples, preprocessed.
    """

    def __init__(self, name: str, checkout: Path, base: Tensor) -> None:
        module, short, _ = METHODS[name]
        self.module = importlib.import_module(module)
        options = json.loads((checkout / CONFIG.format(short)).read_text())
        self.options = argparse.Namespace(**options, verbose=False, print_freq=1)
        for key, value in {
            "args": self.options,
            "device": torch.device("cpu"),
            "num_classes": 10,
            "num_out_feats": 84,
        }.items():
            setattr(self.module, key, value)
        self.ridge, self.base = short == "rr", base
        self.labels = torch.full((len(base), 10), 0.1, requires_grad=True)
        self.labels_optimiser = torch.optim.Adam([self.labels])
        self.network = self._network()
        optimiser = torch.optim.Adam(self.network.parameters())
        self.restarts: list[Any] = [[], 0, 999999999, 0, [], 0]
        self.rest: list[Any] = [self.network, optimiser]
        if self.ridge:
            adjust = self.module.AdjustLayer(device=torch.device("cpu"))
            self.rest += [torch.optim.Adam(list(adjust.parameters()), 0.01), adjust]
        self.head = torch.zeros(85, 10)

    def _network(self) -> nn.Module:
        if self.ridge:
            network: nn.Module = self.module.LeNet(self.options)
            return network
        architectures = importlib.import_module("model_architectures")
        architectures.LeNetMeta.meta = True
        network = architectures.LeNetMeta(self.options)
        return network

    def train(self, batches: Any) -> None:
        """Take a step of theirs on each batch."""
        model, optimiser, *scale = self.rest
        given: tuple[object, ...] = (batches, model, self.base, self.labels, nn.CrossEntropyLoss())
        given += (self.labels_optimiser, 0)
        given += (self.head, optimiser) if self.ridge else (optimiser,)
        with contextlib.redirect_stdout(io.StringIO()):
            back = self.module.train(*given, *self.restarts, *scale)
        if self.ridge:
            self.head, self.restarts = back[4], list(back[6:12])
            self.rest = list(back[12:16])
        else:
            self.restarts, self.rest = list(back[4:10]), list(back[10:12])

    def adopt(self, weights: list[Tensor]) -> None:
        """Take over weights and biases, in the order of the layers."""
        layers = [layer for layer in LAYERS if hasattr(self.network, layer)]
        names = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        with torch.no_grad():
            for name, weight in zip(names, weights, strict=True):
                self.network.get_parameter(name).copy_(weight)


class Shortened:
    """A data loader that stops after some batches."""

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.count = loader, count

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.loader), self.count)

    def __len__(self) -> int:
        return self.count


def make_task(data_root: Path) -> DistillTask:
    """Return the problem: MNIST, 50,000 target and 100 balanced base examples, LeNet."""
    splits = load_splits("mnist", data_root=data_root)
    ready = Preprocessing(mean=torch.tensor([MEAN]), std=torch.tensor([STD]))
    return DistillTask(
        base=choose_base(splits.train, 100),
        target=splits.train,
        extractors=(),
        preprocessing=ready,
        head=RidgeHead(),
        student=LeNet(),
    )


def their_loader(data_root: Path, batch_size: int) -> Any:
    """Return the target's loader as their code makes it, but for the download."""
    from torchvision import datasets, transforms

    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    every = datasets.MNIST(str(data_root), train=True, transform=change, download=False)
    part, _ = torch.utils.data.random_split(every, [50000, 10000])
    return torch.utils.data.DataLoader(part, batch_size=batch_size, shuffle=True)


def compare_labels(name: str, checkout: Path, task: DistillTask) -> dict[str, Any]:
    """Take the same steps with both, and return how far apart the labels are."""
    ours = METHODS[name][2].learner(task)
    theirs = Authors(name, checkout, ours.base)
    theirs.adopt(_weights(ours))
    size = ours.method.batch_size
    batches = [
        (task.preprocessing(images), classes)
        for images, classes in zip(
            task.target.images[: CHECKED_STEPS * size].split(size),
            task.target.labels[: CHECKED_STEPS * size].split(size),
            strict=True,
        )
    ]
    # Their only random numbers here are the base examples of each step.
    torch.manual_seed(0)
    rows = [torch.randperm(len(ours.base))[: ours.inner] for _ in batches]
    torch.manual_seed(0)
    theirs.train(batches)
    start = ours.labels.clone()
    for (images, classes), picked in zip(batches, rows, strict=True):
        ours.update(images, classes, picked)
    apart = (ours.labels - theirs.labels.detach().double()).abs()
    moved = (ours.labels - start).abs()
    return {
        "steps": len(batches),
        "labels_moved": float(moved.mean()),
        "labels_apart_mean": float(apart.mean()),
        "labels_apart_max": float(apart.max()),
    }


def _weights(ours: RidgeLearner | SecondOrderLearner) -> list[Tensor]:
    if isinstance(ours, RidgeLearner):
        return [weight.detach() for weight in ours.trunk.parameters()]
    return list(ours.named(ours.weights[0]).values())


def measure(name: str, options: argparse.Namespace, task: DistillTask) -> dict[str, Any]:
    """Time both in turns and return what was seen."""
    method, count = METHODS[name][2], options.steps
    ours = method.learner(task)
    theirs = [Authors(name, options.authors, ours.base) for _ in range(2)]
    loader = Shortened(their_loader(options.data_root, method.batch_size), count)
    ready = list(loader)
    done = itertools.count()
    candidates: dict[str, Callable[[], object]] = {
        "authors": lambda: theirs[0].train(loader),
        "authors, batches given": lambda: theirs[1].train(ready),
        "ours": lambda: [ours.step(next(done)) for _ in range(count)],
    }
    theirs[1].train(ready[:2])
    ours.step(next(done))
    found: dict[str, list[float]] = {key: [] for key in candidates}
    busy: dict[str, list[float]] = {key: [] for key in candidates}
    for _ in range(options.rounds):
        for key, run in candidates.items():
            start = time.perf_counter(), time.process_time()
            run()
            found[key].append(1e3 * (time.perf_counter() - start[0]) / count)
            busy[key].append(1e3 * (time.process_time() - start[1]) / count)
    total = theirs[0].options.epochs * -(-len(task.target) // method.batch_size)
    rows = {
        key: {
            "ms_per_step": statistics.median(values),
            "ms_fastest": min(values),
            "processor_ms_per_step": statistics.median(busy[key]),
            "full_run_processor_minutes": statistics.median(busy[key]) * total / 6e4,
        }
        for key, values in found.items()
    }
    return {
        "steps_of_a_full_run": total,
        "times": rows,
        "times_as_long_as_ours": _ratios(found),
        "times_as_long_on_the_processor": _ratios(busy),
    }


def _ratios(found: dict[str, list[float]]) -> dict[str, float]:
    """Return the median over rounds of how much longer each takes than ours."""
    return {
        key: statistics.median(a / b for a, b in zip(values, found["ours"], strict=True))
        for key, values in found.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Compare, time, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper.authors", description=__doc__)
    parser.add_argument("--authors", type=Path, required=True, help="checkout of their repository")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="steps in one round")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/authors.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    sys.path.insert(0, str(options.authors.resolve()))
    if importlib.util.find_spec("tqdm") is None:
        # Imported by their modules, used by their main function alone.
        empty = importlib.machinery.ModuleSpec("tqdm", None)
        sys.modules["tqdm"] = importlib.util.module_from_spec(empty)
    task = make_task(options.data_root)
    results: dict[str, Any] = {
        "command": f"python -m benchmarks.paper.authors --authors CHECKOUT --data-root PATH "
        f"--threads {options.threads} --rounds {options.rounds} --steps {options.steps}",
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            **{package: importlib.metadata.version(package) for package in ("torch", "numpy")},
        },
        "methods": {},
    }
    for name in options.methods:
        row = {
            "same_steps": compare_labels(name, options.authors, task),
            **measure(name, options, task),
        }
        results["methods"][name] = row
        for key, found in row["times"].items():
            ratio = row["times_as_long_as_ours"][key]
            busy = row["times_as_long_on_the_processor"][key]
            print(
                f"{name:13} {key:23} {found['ms_per_step']:7.1f} ms a step, a full run "
                f"{found['full_run_processor_minutes']:6.1f} processor minutes; "
                f"times ours: {ratio:5.2f}, on the processor {busy:5.2f}"
            )
        print(f"{name:13} same steps: {row['same_steps']}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
