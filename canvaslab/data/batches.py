"""Batches by number: which rows make batch n is a function of the seed and n, so a run can stop and resume anywhere."""

import operator

import numpy as np
import torch
from torch import Tensor


class Batches:
    """Random access to shuffled batches: ``batches(step) -> tuple of (size, ...) tensors``.

    tensors: a tensor, or a tuple of tensors with equal first axes, each on any device. size: rows in a batch.
    Each epoch is a permutation drawn from (seed, epoch); rows that do not fill a batch at its end are dropped.
    Nothing is remembered between calls, so resuming at step n needs only n. ``len`` is the batches in an epoch.

    Raises ValueError when the tensors disagree in length or the size does not fit.
    """

    def __init__(self, tensors: Tensor | tuple[Tensor, ...], size: int, seed: int = 0):
        self.tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        if not self.tensors or not all(isinstance(t, Tensor) and t.ndim > 0 for t in self.tensors):
            kinds = ", ".join(type(t).__name__ for t in self.tensors) or "nothing"
            raise ValueError(f"Batches got {kinds}; accepted: tensors with a first axis of rows")
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"Batches got tensors of {lengths} rows; accepted: the same number of rows in each")
        self.size, self.seed, self.rank, self.world = operator.index(size), operator.index(seed), 0, 1
        if self.seed < 0:
            raise ValueError(f"seed is {seed}; accepted: integers from 0")
        self._check_size()
        self._shuffled: tuple[int, dict[torch.device, Tensor]] = (-1, {})

    def _check_size(self) -> None:
        rows = len(self.tensors[0])
        if not 1 <= self.size * self.world <= rows:
            shared = f" in each of {self.world} processes" if self.world > 1 else ""
            most = rows // self.world
            raise ValueError(f"batch size is {self.size}{shared}, with {rows} rows of data; accepted: 1 to {most}")

    def shard(self, rank: int, world: int) -> "Batches":
        """This process's own part, ``size`` rows a step: the ``world`` parts joined in the order of their ranks are
        the batch that ``Batches(tensors, size * world, seed)`` gives at the same step."""
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank} of {world} processes; accepted: 0 to world - 1")
        part = Batches(self.tensors, self.size, self.seed)
        part.rank, part.world = rank, world
        part._check_size()
        return part

    def __len__(self) -> int:
        return len(self.tensors[0]) // (self.size * self.world)

    def rows(self, step: int) -> Tensor:
        """The row numbers of batch ``step`` (0, 1, ...), (size,) int64 on the CPU."""
        return self._rows(step, torch.device("cpu"))

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        return tuple(t[self._rows(step, t.device)] for t in self.tensors)

    def _rows(self, step: int, device: torch.device) -> Tensor:
        step = operator.index(step)
        if step < 0:
            raise ValueError(f"batch {step} was asked for; accepted: integers from 0")
        epoch, position = divmod(step, len(self))
        start = (position * self.world + self.rank) * self.size
        return self._permutation(epoch, device)[start : start + self.size]

    def _permutation(self, epoch: int, device: torch.device) -> Tensor:
        # Kept for the epoch under way, once a device: drawing 60 000 rows anew each step would cost more than the step.
        if self._shuffled[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.tensors[0]))
            self._shuffled = (epoch, {torch.device("cpu"): torch.from_numpy(order)})
        kept = self._shuffled[1]
        if device not in kept:
            kept[device] = kept[torch.device("cpu")].to(device)
        return kept[device]
