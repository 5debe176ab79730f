"""Equal CPU seconds for every arm, a block each in turn; then images a second, feature distance, class agreement."""
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from benchmarks.peers import PEERS, Peer, missing
from canvaslab.data import load
from canvaslab.lab import metrics
from canvaslab.nets import pretrained


class Clock:
    """CPU seconds and steps of one arm, with its own stream of random numbers."""
    def __init__(self, budget: float, seed: int):
        self.budget, self.spent, self.steps = budget, 0.0, 0
        self.random = torch.Generator().manual_seed(seed).get_state()

    def share(self) -> float:
        return self.spent / self.budget

    def run(self, steps: Iterator, seconds: float) -> None:
        """Advance for at least ``seconds`` of CPU time; the last step may run over."""
        others = torch.get_rng_state()
        torch.set_rng_state(self.random)
        until = self.spent + seconds
        while self.spent < until:
            began = time.process_time()
            next(steps)
            self.spent += time.process_time() - began
            self.steps += 1
        self.random = torch.get_rng_state()
        torch.set_rng_state(others)


def race(makers: dict[str, Callable], budget: float, seed: int = 0, block: float = 1.0) -> dict:
    """Train every arm for ``budget`` CPU seconds, ``block`` seconds each in turn, so that load on the machine meets all
    alike. makers: name -> make(share). Returns name -> (arm, clock); an arm exceeds the budget by one step at most."""
    clocks = {name: Clock(budget, seed) for name in makers}
    arms = {name: make(clocks[name].share) for name, make in makers.items()}
    while waiting := [name for name in arms if clocks[name].spent < budget]:
        for name in waiting:
            clocks[name].run(arms[name].steps, min(block, budget - clocks[name].spent))
    for arm in arms.values():
        arm.steps.close()
    return {name: (arms[name], clocks[name]) for name in arms}


class Judge:
    """Feature distance over its floor, and class agreement, of n class-balanced samples (notebook 04's measures)."""
    def __init__(self, n: int, reference: int = 10_000):
        self.features, self.judge = pretrained("fashion-mnist"), pretrained("fashion-mnist", role="judge")
        data = load("fashion-mnist")
        self.x, self.y = data.x.float() / 255, data.y
        self.wanted = torch.arange(n) % 10
        self.reference = self.embed(load("fashion-mnist", split="test").x[:reference].float() / 255)
        order = torch.cat([(self.y == c).nonzero()[: 6 * n // 10, 0].view(6, -1) for c in range(10)], dim=1)
        real = [self.x[rows] for rows in order]  # six folds of n, equally many of each class
        self.floor = metrics.interval([self.far(fold) for fold in real[:5]]).mean
        blurred = torch.nn.functional.avg_pool2d(real[5], 3, 1, 1, count_include_pad=False)
        self.blurred = self.far(blurred) / self.floor

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        return torch.cat([self.features.features(part) for part in images.split(500)])

    def far(self, images: Tensor) -> float:
        return metrics.frechet(self.embed(images), self.reference)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, float]:
        seen = torch.cat([self.judge(part).argmax(1) for part in images.split(500)])
        return {"distance": self.far(images) / self.floor, "agreement": seen.eq(self.wanted).double().mean().item()}


def one_seed(makers: dict[str, Callable], judge: Judge, budget: float, seed: int) -> dict[str, dict[str, float]]:
    """name -> images a second, CPU seconds, steps, parameters, distance / floor and class agreement."""
    found = {}
    for name, (arm, clock) in race(makers, budget, seed).items():
        torch.manual_seed(seed)
        images = torch.cat([arm.draw(part) for part in judge.wanted.split(100)])
        found[name] = {"images/s": clock.steps * arm.batch / clock.spent, "cpu_seconds": clock.spent,
                       "steps": clock.steps, "parameters": sum(p.numel() for p in arm.net.parameters())} | judge(images)
    return found


def gathered(rows: list[dict[str, dict]]) -> dict[str, dict[str, list]]:
    """A list over seeds of name -> what -> value, as name -> what -> list over seeds."""
    return {name: {what: [row[name][what] for row in rows] for what in rows[0][name]} for name in rows[0]}


def measure(judge: Judge, budget: float, seeds: Iterable[int], peers: dict[str, Peer] = PEERS) -> dict:
    """The training part of the results; peers that are not installed are left out, each with a sentence."""
    absent = {name: sentence for name, peer in peers.items() if (sentence := missing(peer))}
    rows = []
    for seed in seeds:
        makers = {name: lambda share, p=peer, s=seed: p.make(judge.x, judge.y, s, share, **p.settings)
                  for name, peer in peers.items() if name not in absent}
        rows.append(one_seed(makers, judge, budget, seed))
        print(f"seed {seed}:", {name: round(row["distance"], 1) for name, row in rows[-1].items()}, flush=True)
    arms = {name: arm | {"guided": peers[name].guided} for name, arm in gathered(rows).items()}
    return {"budget": budget, "seeds": list(seeds), "n": len(judge.wanted), "floor": judge.floor,
            "blurred": judge.blurred, "missing": absent, "arms": arms}
