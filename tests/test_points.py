"""Laws of the point sets: their moments are the stated ones, their shapes obey their equations."""

import math

import pytest
import torch
from sklearn.datasets import make_moons

from canvaslab.data import load, names, points

SETS = {
    "two-peaks": points.two_peaks, "three-peaks": points.three_peaks, "moons": points.moons, "spiral": points.spiral,
    "checkerboard": points.checkerboard, "rings": points.rings, "grid": points.grid, "circle": points.circle,
}  # fmt: skip
MIXTURES = ("two-peaks", "three-peaks", "grid", "circle")
N = 100_000


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("name", SETS)
def test_moments_are_those_of_the_law(name, noise):
    drawn = SETS[name](N, torch.Generator().manual_seed(0), noise=noise)
    offset = (drawn.x.mean(0) - torch.tensor(drawn.mean, dtype=torch.float64)).abs()
    assert (offset < 5 * drawn.x.std(0) / math.sqrt(N)).all()
    square = (drawn.x - torch.tensor(drawn.mean, dtype=torch.float64)).square().mean(1)
    assert abs(float(square.mean()) - drawn.variance) < 5 * float(square.std()) / math.sqrt(N) + 1e-12


@pytest.mark.parametrize("name", SETS)
def test_standardised_sets_share_one_frame(name):
    data = load(name, n=N, seed=2)
    assert data.x.dtype == torch.float32
    assert data.x.mean(0).abs().max() < 5 * float(data.x.std(0).max()) / math.sqrt(N)
    assert float(data.x.double().square().mean()) == pytest.approx(1, abs=0.02)
    assert set(data.y.unique().tolist()) == set(range(len(data.classes)))


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_comes_with_its_exact_law(name, standardise):
    data = load(name, n=N, standardise=standardise)
    law = data.mixture
    residual = (data.x - law["means"][data.y]) / law["std"]
    assert float(residual.mean()) == pytest.approx(0, abs=5 / math.sqrt(residual.numel()))
    assert float(residual.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / residual.numel()))
    share = torch.bincount(data.y) / N
    weights = law["weights"]
    assert ((share - weights).abs() < 5 * (weights * (1 - weights) / N).sqrt()).all()


def test_a_draw_is_a_function_of_name_split_seed_and_n():
    one, again = load("moons", n=50, seed=7), load("moons", n=50, seed=7)
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.y, again.y)
    others = [load("moons", n=50, seed=8), load("moons", "test", n=50, seed=7)]
    assert not any(torch.equal(one.x, other.x) for other in others)


def test_moons_are_those_of_scikit_learn():
    ours = points.moons(20_000, torch.Generator().manual_seed(0), noise=0.0)
    theirs, labels = make_moons(400, noise=None)
    for moon in (0, 1):
        a, b = ours.x[ours.y == moon], torch.from_numpy(theirs[labels == moon])
        distance = torch.cdist(b, a)
        assert distance.min(1).values.max() < 0.01
        assert distance.min(0).values.max() < 0.02


def test_shapes_obey_their_equations():
    rng = torch.Generator().manual_seed(1)
    arms = points.spiral(5000, rng, noise=0.0, turns=1.5)
    x = arms.x * (1 - 2 * arms.y[:, None])
    radius = x.norm(dim=1)
    turned = torch.stack([(3 * math.pi * radius).cos(), (3 * math.pi * radius).sin()], dim=1)
    assert torch.allclose(x, radius[:, None] * turned, atol=1e-12)
    circles = points.rings(5000, rng, noise=0.0)
    assert torch.allclose(circles.x.norm(dim=1), 1 + circles.y.double(), atol=1e-12)
    board = points.checkerboard(5000, rng)
    column, row = (board.x.floor().long() + 2).unbind(1)
    assert ((column + row) % 2 == 0).all()
    assert len(torch.stack([column, row]).unique(dim=1).T) == 8


def test_wrong_arguments_get_a_sentence():
    with pytest.raises(ValueError, match="n is 0"):
        load("moons", n=0)
    with pytest.raises(ValueError, match="seed is -1"):
        load("moons", seed=-1)
    with pytest.raises(ValueError, match="no option radius; accepted: n, seed, standardise, noise"):
        load("moons", radius=3)
    with pytest.raises(ValueError, match="no split 'valid'; accepted: train, test"):
        load("moons", "valid")
    assert set(SETS) < set(names())
