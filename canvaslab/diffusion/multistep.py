"""Linear multistep samplers: one evaluation a step, high order from the memory of earlier slopes.

``ghvb`` walks dx/dsigma = (x - x0_hat) / sigma. A high order buys accuracy with a small stability region; heavy-ball
momentum buys the region back. ``unip`` solves the linear part exactly. Build a fresh one for each trajectory.
"""

import math

import torch
from torch import Tensor

from .denoise import Denoise
from .sample import Step

# weights of the backward differences of the slope in the Adams-Bashforth series, and with it its error constants
ADAMS = (1.0, 1 / 2, 5 / 12, 3 / 8)


def adams_weights(levels: list[Tensor], t: Tensor) -> list[float]:
    """Weights of the slopes at ``levels`` (newest first) whose sum, times the step, integrates up to ``t``.

    Exact for polynomials of degree len(levels) - 1, on any grid; on an even one the textbook Adams-Bashforth weights.
    """
    s = torch.stack(levels).cpu().double()
    nodes = (s - s[0]) / (t.cpu().double() - s[0])  # 0 for the newest, -1 for the one before on an even grid
    power = torch.arange(len(levels), dtype=torch.float64)
    return torch.linalg.solve(nodes ** power[:, None], 1 / (power + 1)).tolist()


def ghvb(order: int = 2, beta: float = 1.0) -> Step:
    """Generalised heavy ball: Adams-Bashforth of ``order`` 1 to 4, damped by momentum. ``beta`` in (0, 1].

    With v_n = (1 - beta) v_(n-1) + beta slope_n, one step is Adams-Bashforth on the slopes minus its most
    oscillating part, (1/beta - 1) a_(k-1) nabla^k v: smaller beta, larger stability region, larger error constant,
    same order. beta = 1 is Adams-Bashforth; order 1 is the classical heavy ball, x + h v.
    Wizadwongsa et al. 2024 (their M_k, written as differences), here with the weights of uneven grids.
    The first steps use the orders for which there is memory, from Euler up: they bound the order seen at 2.
    """
    if order not in (1, 2, 3, 4) or not 0 < beta <= 1:
        raise ValueError(f"ghvb needs order 1, 2, 3 or 4 and 0 < beta <= 1, got order={order}, beta={beta}")
    levels: list[Tensor] = []
    slopes: list[Tensor] = []
    velocities: list[Tensor] = []  # newest first, like the others

    def step(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x0 = denoise(x, s)
        slope = (x - x0) / s
        if not slopes:
            velocities.extend([slope] * (order + 1))  # at rest: the momentum starts as the first slope
            levels.append(s), slopes.append(slope)
            return torch.lerp(x0, x, t / s), x0  # Euler, and exactly x0 when t = 0
        for memory, new, size in (
            (levels, s, order),
            (slopes, slope, order),
            (velocities, torch.lerp(velocities[0], slope, beta), order + 1),
        ):
            memory.insert(0, new)
            del memory[size:]
        k = len(slopes)
        move = sum(w * f for w, f in zip(adams_weights(levels, t), slopes, strict=True))
        if beta < 1:
            wiggle = sum((-1) ** j * math.comb(k, j) * velocities[j] for j in range(k + 1))  # nabla^k v
            move = move - (1 / beta - 1) * ADAMS[k - 1] * wiggle
        return x + (t - s) * move, x0

    return step


def adams_bashforth(order: int = 2) -> Step:
    """``ghvb(order, beta=1)``: Adams-Bashforth on the levels of the grid (on even grids: PLMS, Liu et al. 2022)."""
    return ghvb(order, 1.0)


def exponential_weights(levels: list[Tensor], s: Tensor, t: Tensor) -> list[float]:
    """Weights w of the guesses at ``levels``: the exact step from s to t is t/s x + the sum of w times the guesses.

    Exact where the guess is a polynomial of degree len(levels) - 1 in log(sigma): w integrates exp(-u) times it.
    """
    log = torch.stack([*levels, s, t]).cpu().double().log()
    h = float(log[-2] - log[-1])
    nodes = (log[-2] - log[:-2]) / h  # 0 at s, 1 at t
    moments = [-math.expm1(-h)]  # of v^j under h exp(-h (1 - v)) on [0, 1]
    for j in range(1, len(levels)):
        moments.append(1 - j / h * moments[-1])
    power = torch.arange(len(levels), dtype=torch.float64)
    return torch.linalg.solve(nodes ** power[:, None], torch.tensor(moments, dtype=torch.float64)).tolist()


def blended_weights(levels: list[Tensor], s: Tensor, t: Tensor) -> list[float]:
    """Mean of the weights of DPM-Solver++(2M) and of `exponential_weights`, for two or three guesses, newest at s."""
    h, before = float((s / t).log()), float((levels[1] / s).log())
    gain = -math.expm1(-h)
    slope = gain * h / (2 * before)  # Lu et al. 2022, algorithm 2
    second = [gain + slope, -slope, 0.0][: len(levels)]
    return [(a + b) / 2 for a, b in zip(second, exponential_weights(levels, s, t), strict=True)]


def unipc(order: int = 2, correct: bool = True, blend: bool = False) -> Step:
    """UniPC of ``order`` 1 to 3 (UniP, up to 4, if not ``correct``): one evaluation a step. Zhao et al. 2023.

    The guesses x0_hat are taken as a polynomial in log(sigma), which is integrated exactly. Arrived at a level, the new
    guess serves twice: it corrects the step that led there, which raises the order by one, and predicts the next. (The
    multistep DPM-Solver++ are predictors with approximate weights; its third order gives the curvature half of its.)
    blend: with order 2, predict by the mean of DPM-Solver++(2M) and the polynomial through three guesses. Third order
    as before, and 6 to 8 % fewer evaluations for the same error on images (see benchmarks); our own, not UniPC's.
    Begins with the orders for which there is memory, ends with x0_hat at t = 0, and forgets where a trajectory does
    not go on from the level at which it ended.
    """
    if order not in ((1, 2, 3) if correct else (1, 2, 3, 4)):
        raise ValueError(f"unipc needs order 1, 2, 3 (or 4 with correct=False), got order={order}, correct={correct}")
    if blend and (order, correct) != (2, True):
        raise ValueError(f"blend goes with order=2 and correct=True, got order={order}, correct={correct}")
    levels: list[Tensor] = []
    guesses: list[Tensor] = []  # newest first, like the levels
    came_from = arrived = None

    def move(x: Tensor, s: Tensor, t: Tensor, weights: list[float]) -> Tensor:
        return t / s * x + sum(w * guess for w, guess in zip(weights, guesses, strict=False))

    def step(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal came_from, arrived
        x0 = denoise(x, s)
        if s != arrived:
            levels.clear(), guesses.clear()
        for memory, new in ((levels, s), (guesses, x0)):
            memory.insert(0, new)
            del memory[order + 1 :]
        if correct and len(levels) > 1:
            x = move(came_from, levels[1], s, exponential_weights(levels, levels[1], s))
        came_from, arrived = x, t
        if t == 0:
            return x0, x0
        if blend and len(levels) > 1:
            return move(x, s, t, blended_weights(levels, s, t)), x0
        return move(x, s, t, exponential_weights(levels[:order], s, t)), x0

    return step
