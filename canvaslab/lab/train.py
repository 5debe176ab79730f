"""One loop for everything: ``loss(model, batch) -> scalar``."""
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import checkpoint as disk
from .progress import Progress


class Step(NamedTuple):
    """What `train` yields after an update: its number (from 1), the loss before it, and its learning rate."""
    n: int
    loss: Tensor  # (), detached, on the device; .item() only when you print
    lr: float  # of the optimiser's first group


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[nn.Module]:
    """Set train or eval mode, and restore that of *each* submodule, even after an exception."""
    before = [(m, m.training) for m in model.modules()]
    try:
        yield model.train(training)
    finally:
        for m, flag in before:
            m.training = flag


class EMA:
    """Average of the weights over training, with the power-function profile: nothing to warm up.

    ``ema.model`` is the averaged copy, in eval mode; ``gamma`` sets how much late weights count (6.94: the last 10 % of
    training in relative standard deviation, 16.97: 5 %). After step t the average is sum_k w_k theta_k with
    w_k = (k^(gamma+1) - (k-1)^(gamma+1)) / t^(gamma+1). Buffers are copied. Source: Karras et al. 2024, section 3.1.
    """
    def __init__(self, model: nn.Module, gamma: float = 12.0):
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.gamma, self.n = gamma, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` after one more step."""
        self.n += 1
        beta = (1 - 1 / self.n) ** (self.gamma + 1)
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - beta)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


def warmup_flat_decay(steps: int, warmup: float = 0.03, flat_until: float = 0.5,
                      end: float = 0.02) -> Callable[[int], float]:
    """Learning-rate factor of a step: linear up over the share ``warmup`` of the steps, 1 until the share
    ``flat_until``, then linear down to ``end`` at the last step."""
    up, flat = max(1, round(warmup * steps)), round(flat_until * steps)

    def factor(n: int) -> float:
        down = (n - flat) / max(1, steps - 1 - flat)
        return min(1.0, (n + 1) / up) * (1 - (1 - end) * min(1.0, max(0.0, down)))
    return factor


def cosine_decay(steps: int, warmup: float = 0.03, end: float = 0.0) -> Callable[[int], float]:
    """Learning-rate factor of a step: linear up over the share ``warmup``, then half a cosine down to ``end``."""
    up = max(1, round(warmup * steps))

    def factor(n: int) -> float:
        down = min(1.0, max(0.0, (n - up) / max(1, steps - 1 - up)))
        return min(1.0, (n + 1) / up) * (end + (1 - end) * (1 + math.cos(math.pi * down)) / 2)
    return factor


class Feed:
    """Batch n of this process, whatever the batches are; knows how to go on after a restart."""
    def __init__(self, batches: Callable[[int], Any] | Iterable, accelerator):
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.accelerator, self.position, self.epoch, self.began = accelerator, 0, None, {}
        self.ask = None
        if callable(batches) and hasattr(batches, "shard") and self.world > 1:
            self.ask = batches.shard(self.rank, self.world)
        elif callable(batches):
            self.ask = lambda n: batches(n * self.world + self.rank)
        elif isinstance(batches, Sequence):
            self.ask = lambda n: batches[(n * self.world + self.rank) % len(batches)]
        elif self.world > 1:
            batches = accelerator.prepare_data_loader(batches)
        self.batches = batches

    def __call__(self, n: int) -> Any:
        from accelerate.utils import send_to_device
        batch = self.ask(n) if self.ask else self._next()
        return send_to_device(batch, self.accelerator.device, non_blocking=True)

    def _next(self) -> Any:
        nothing = object()
        batch = nothing if self.epoch is None else next(self.epoch, nothing)
        if batch is nothing:
            self._begin()
            batch = next(self.epoch, nothing)
        if batch is nothing:
            raise ValueError("the batches ran out: give a callable batches(n), a list, or a DataLoader, "
                             "which can be read again; a generator can be read only once")
        self.position += 1
        return batch

    def _begin(self) -> None:
        self.began, self.position = disk.random_state(), 0  # a shuffle is drawn from here
        self.own = self._generator()
        self.began_own = self.own.get_state() if self.own is not None else None
        self.epoch = iter(self.batches)

    def _generator(self) -> torch.Generator | None:
        sampler = getattr(self.batches, "sampler", None)
        return getattr(self.batches, "generator", None) or getattr(sampler, "generator", None)

    def state(self) -> dict:
        """What `resume` needs: where the epoch began, and how far it is."""
        if self.ask or self.epoch is None:
            return {}
        return {"began": self.began, "position": self.position, "own": self.began_own}

    def resume(self, state: dict) -> None:
        """Read the epoch again up to where it was; the caller's random state stays as it is."""
        if not state:
            return
        now = disk.random_state()
        disk.set_random_state(state["began"])
        if state["own"] is not None:
            self._generator().set_state(state["own"])
        self._begin()
        for _ in range(state["position"]):
            self._next()
        disk.set_random_state(now)


def _autocast(precision: str | None, device: torch.device):
    if precision not in (None, "bf16", "fp32"):
        raise ValueError(f"precision={precision!r} was given; accepted: None (choose), 'bf16' or 'fp32'")
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" or (precision is None and able):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _update(model: nn.Module, batch: Any, loss: Callable, optimizer, factor: float, clip: float | None,
            precision: str | None, accelerator) -> Tensor:
    with _autocast(precision, accelerator.device):
        value = loss(model, batch)
    if value.ndim:
        raise ValueError(f"loss(model, batch) returned shape {tuple(value.shape)}; it must be a scalar: take .mean()")
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(value)
    if clip is not None:
        accelerator.clip_grad_norm_(model.parameters(), clip)
    rates = [group["lr"] for group in optimizer.param_groups]
    try:  # the factor holds for this step only: an interrupted run leaves the optimiser as it was given
        for group in optimizer.param_groups:
            group["lr"] *= factor
        optimizer.step()
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    return value.detach()


def train(model: nn.Module, batches: Callable[[int], Any] | Iterable, loss: Callable[[Callable, Any], Tensor],
          optimizer: torch.optim.Optimizer, steps: int, *, lr: Callable[[int], float] | None = None,
          ema: EMA | None = None, clip: float | None = None, checkpoint: str | Path | None = None,
          save_every: int = 500, accelerator=None, precision: str | None = None, progress: bool = True,
          watch: Callable | None = None, watch_every: float = 5.0) -> Iterator[Step]:
    """Train, and yield a `Step` after every update. Nothing runs until you iterate.

    model: moves to the accelerator's device. batches: ``batches(n) -> batch`` for step n = 0, 1, ... (several
    processes: its ``.shard(rank, world)``, else n * world + rank), or anything that can be read again and again.
    loss: ``loss(model, batch) -> ()``. steps: counted from the first, also after a restart. lr: factor of each group's
    learning rate at step n. clip: largest gradient norm. checkpoint: a folder, written every ``save_every`` steps and
    at the end; if it holds a checkpoint, training goes on from it, with the settings of the optimiser you give.
    accelerator: an `accelerate.Accelerator`, to choose device and processes. precision: 'bf16', 'fp32', None (bf16
    autocast on a GPU that has it). progress: show a line. watch: ``watch(n) -> Figure`` for a live picture in a
    notebook, every ``watch_every`` seconds; it cannot disturb the random numbers or the mode of the training.

    While you hold a Step, the gradients of its update are still there and the optimiser has its own learning rates.
    Whichever way the loop ends, each submodule is back in its mode. Processes of rank r > 0 reseed torch with seed + r,
    so that their noise differs. On a GPU, call ``model.compile()`` first for long runs.
    Errors: FloatingPointError when the loss is not finite; ValueError for a checkpoint of another model.
    """
    from accelerate import Accelerator
    acc = accelerator or Accelerator()
    modes = [(m, m.training) for m in model.modules()]
    own_forward = vars(model).get("forward")
    meter = None
    try:
        if acc.process_index > 0:
            torch.manual_seed(torch.initial_seed() + acc.process_index)
        wrapped, stepper, feed = acc.prepare_model(model), acc.prepare_optimizer(optimizer), Feed(batches, acc)
        if ema is not None:
            ema.model.to(acc.device)  # on every process: gradients are the same, so the averages agree
        start = _resume(checkpoint, steps, model, optimizer, ema, feed, acc) if checkpoint else 0
        look = watch and _undisturbed(watch, model)
        meter = Progress(steps, start, progress and acc.is_main_process, look, watch_every)
        for n in range(start, steps):
            if not all(m.training for m in model.modules()):  # to look is quicker than to set
                model.train()
            factor = 1.0 if lr is None else lr(n)
            value = _update(wrapped, feed(n), loss, stepper, factor, clip, precision, acc)
            if ema is not None:
                ema.update(model)
            meter.update(n + 1, value)
            yield Step(n + 1, value, optimizer.param_groups[0]["lr"] * factor)
            if checkpoint and ((n + 1) % save_every == 0 or n + 1 == steps):
                meter.check()  # never write over a good checkpoint with a broken one
                disk.save(checkpoint, n + 1, model, optimizer, ema, feed.state(), acc)
        meter.finish()
    finally:
        if meter is not None:
            meter.close()
        _restore(model, modes, own_forward)


def _resume(folder: str | Path, steps: int, model: nn.Module, optimizer, ema: EMA | None, feed: Feed, acc) -> int:
    path = disk.latest(folder)
    if path is None:
        return 0
    n, state = disk.load(path, model, optimizer, ema, acc)
    feed.resume(state)
    if acc.is_main_process:
        print(f"{folder}: going on from step {n} of {steps}" if n < steps else f"{folder}: all {n} steps are done")
    return n


def _undisturbed(watch: Callable, model: nn.Module) -> Callable:
    def look(n: int):
        kept = disk.random_state()
        with mode(model, False):
            figure = watch(n)
        disk.set_random_state(kept)
        return figure
    return look


def _restore(model: nn.Module, modes: list, own_forward: Callable | None) -> None:
    for m, training in modes:
        m.training = training
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):  # left by accelerate
        vars(model).pop(name, None)
    if own_forward is not None:
        model.forward = own_forward
