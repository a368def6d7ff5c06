"""Several processes that share one pass, as `torchrun` starts them."""

import dataclasses
import datetime
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from cvxdistill.errors import CvxDistillError, InputError
from cvxdistill.statistics import TargetStatistics, pack, unpack

# Ranks wait for the slowest of them. One that dies ends them all through torchrun, so that a short
# limit would only stop long passes.
_PATIENCE = datetime.timedelta(hours=24)
_FAILED = "failed"


@dataclasses.dataclass(eq=False)
class Ranks:
    """The processes that share one pass; alone unless `joined_ranks` says otherwise.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        device: where this one computes.
        store: what they tell one another by, or `None` for one process alone.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    store: "Store | None" = None
    _turn: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def share(self, start: int, stop: int) -> tuple[int, int]:
        """Return this rank's part of the rows `start` to `stop`: disjoint, together all of them.

        Parts differ by one row at most, wherever the shards end.

        Example:
            >>> [Ranks(rank, 3).share(0, 10) for rank in range(3)]
            [(0, 3), (3, 6), (6, 10)]
        """
        rows = stop - start
        return start + rows * self.rank // self.size, start + rows * (self.rank + 1) // self.size

    def place(self, device: torch.device | str) -> torch.device:
        """Return where this rank computes: its own GPU, or `device` for a process alone."""
        return torch.device(device) if self.store is None else self.device

    def exchange(self, text: str) -> list[str]:
        """Return what each rank says, in their order; waits for all of them."""
        if self.store is None:
            return [text]
        self._turn += 1
        keys = [f"{self._turn}/{rank}" for rank in range(self.size)]
        self.store.set(keys[self.rank], text)
        self.store.wait(keys, _PATIENCE)
        return [self.store.get(key).decode() for key in keys]

    def check(self) -> None:
        """Stop if another rank has failed; costs one small message.

        Raises:
            InputError: another rank has failed; `agreeing` replaces it by what that one says.
        """
        if self.store is not None and self.store.check([_FAILED]):
            raise InputError("another rank has failed.")

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Run a block on all ranks: if it fails on one, it fails on all, for the same reason.

        The block may not wait for other ranks.

        Raises:
            CvxDistillError: what the first rank that failed raised.
        """
        if self.store is None:
            yield
            return
        said = ""
        try:
            yield
        except Exception as error:
            expected = isinstance(error, CvxDistillError)
            if not self.store.check([_FAILED]):
                text = str(error) if expected else f"{type(error).__name__}: {error}"
                said = f"{int(isinstance(error, InputError))}{text}"
                self.store.set(_FAILED, "")
            if not expected:
                self.exchange(said)
                raise
        for rank, told in enumerate(self.exchange(said)):
            if told:
                kind = InputError if told[0] == "1" else CvxDistillError
                raise kind(f"{told[1:].rstrip('.')} (rank {rank} of {self.size}).")

    def require_same(self, text: str, *, what: str) -> None:
        """Find out whether all ranks see the same.

        Raises:
            InputError: on all ranks, if one sees another thing than the first.
        """
        said = self.exchange(text)
        for rank, told in enumerate(said):
            if told != said[0]:
                raise InputError(
                    f"all ranks must see the same {what}; rank {rank} sees others than rank 0. "
                    "Put them where every machine reads the same files."
                )

    def merge(self, stats: TargetStatistics) -> TargetStatistics:
        """Return the moments of all ranks, added in the order of ranks, on every rank."""
        if self.store is None:
            return stats
        packed = pack(stats)
        if self.first:
            for rank in range(1, self.size):
                other = torch.empty_like(packed)
                dist.recv(other, src=rank)
                stats = stats + unpack(other, stats)
            packed = pack(stats)
        else:
            dist.send(packed, dst=0)
        dist.broadcast(packed, src=0)
        return unpack(packed, stats)

    def leave(self) -> None:
        """Wait until all ranks are about to end after a failure, each with its own exit code.

        torchrun ends the other ranks as soon as it sees one end; they are at their last line.
        """
        if self.store is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.exchange("")
            dist.barrier()


@contextmanager
def joined_ranks(device: torch.device | str = "cpu") -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, and yield them; this one alone without it.

    Gloo carries the moments on a CPU, NCCL between GPUs, of which each process takes the one of
    its local rank.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        InputError: more processes on a machine than GPUs, or a process group that is there already.
    """
    place = torch.device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(device=place)
        return
    if dist.is_initialized():
        raise InputError(
            "ranks are to be joined once; got a process group that exists. Use `joined_ranks` in "
            "the place of init_process_group."
        )
    if place.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"each process needs a GPU of its own; got process {local} of a machine with "
                f"{torch.cuda.device_count()}. Start fewer (--nproc-per-node), or use --device cpu."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://")))
    dist.init_process_group(
        "nccl" if place.type == "cuda" else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
    )
    try:
        yield Ranks(rank, size, place, PrefixStore("cvxdistill", store))
    finally:
        dist.destroy_process_group()
