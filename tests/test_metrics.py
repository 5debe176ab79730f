"""Distances against closed forms and independent implementations."""
import math

import pytest
import torch
from torch import nn

from canvaslab.lab import metrics


def gauss(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_moments(x, mean, covariance):
    """Move a sample so that its empirical mean and covariance are exactly these."""
    white = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_commuting_gaussians_in_closed_form():
    turn, _ = torch.linalg.qr(gauss(5, 5))
    va, vb = torch.tensor([1.0, 2, 3, 4, 5]).double(), torch.tensor([0.3, 2, 1, 9, 4]).double()
    a = with_moments(gauss(100, 5, 1), torch.zeros(5), turn @ va.diag() @ turn.T)
    b = with_moments(gauss(80, 5, 2), torch.ones(5), turn @ vb.diag() @ turn.T)
    assert metrics.frechet(a, b) == pytest.approx(float(5 + (va.sqrt() - vb.sqrt()).square().sum()), rel=1e-10)


def test_frechet_is_a_squared_distance():
    a, b = gauss(60, 4, 1), 2 * gauss(70, 4, 2) + 1
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert metrics.frechet(a, b) == pytest.approx(metrics.frechet(b, a), rel=1e-10)
    assert metrics.frechet(3 * a, 3 * b) == pytest.approx(9 * metrics.frechet(a, b), rel=1e-10)
    assert metrics.frechet(a, a + 2) == pytest.approx(4 * 4, rel=1e-10)
    few = gauss(6, 20, 3)  # a singular covariance
    assert metrics.frechet(few, few.flip(0)) == pytest.approx(0, abs=1e-6)


def test_frechet_agrees_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features(nn.Module):
        num_features = 12

        def forward(self, x):
            return x.flatten(1)[:, :12].double()
    fid = FrechetInceptionDistance(feature=Features(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    a = torch.randint(0, 256, (200, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    b = torch.randint(20, 200, (150, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    fid.update(a, real=True)
    fid.update(b, real=False)
    assert metrics.frechet(a.double(), b.double()) == pytest.approx(float(fid.compute()), rel=1e-6)


def test_floor_falls_with_n_and_is_what_real_data_score():
    real, reference = gauss(4000, 6, 1), gauss(4000, 6, 2)
    small, large = metrics.floor(real, reference, 100), metrics.floor(real, reference, 1000)
    assert 0 < large.mean < small.mean / 4 and large == metrics.floor(real, reference, 1000)
    assert abs(metrics.frechet(gauss(1000, 6, 9), reference) - large.mean) < 4 * large.half
    with pytest.raises(ValueError, match="4000"):
        metrics.floor(real, reference, 5000)


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_of_a_shift_is_its_length(p):
    a, shift = gauss(200, 3), torch.tensor([3.0, 0, -4])
    assert metrics.wasserstein(a, (a + shift).flip(0), p) == pytest.approx(5, rel=1e-10)


def test_wasserstein_is_the_best_of_all_matchings():
    from itertools import permutations
    a, b = gauss(6, 2, 1), gauss(6, 2, 2)
    best = min(float((a - b[list(order)]).square().sum(1).mean()) for order in permutations(range(6)))
    assert metrics.wasserstein(a, b) == pytest.approx(math.sqrt(best), rel=1e-10)


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_is_exact_in_one_dimension(p):
    a, b = gauss(300, 1, 1), 2 * gauss(300, 1, 2) + 1
    assert metrics.sliced_wasserstein(a, b, projections=3, p=p) == pytest.approx(metrics.wasserstein(a, b, p), rel=1e-9)


def test_sliced_of_a_shift_in_d_dimensions():
    a = gauss(50, 8)
    shift = torch.zeros(8, dtype=torch.float64)
    shift[0] = 4
    assert metrics.sliced_wasserstein(a, a + shift, projections=20_000) == pytest.approx(4 / math.sqrt(8), rel=0.02)
    assert metrics.sliced_wasserstein(a, a + shift) <= metrics.wasserstein(a, a + shift)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_nearest_is_brute_force(chunk):
    data = torch.randint(0, 256, (100, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = torch.cat([data[40:43], 255 - data[:5]])
    found = metrics.nearest(x, data, k=9, chunk=chunk)
    every = (x.flatten(1).double()[:, None] - data.flatten(1).double()).square().sum(2).sqrt()
    distance, index = every.sort(dim=1)
    assert torch.allclose(found.distance.double(), distance[:, :9], rtol=1e-6)
    assert torch.equal(found.index, index[:, :9]) and found.index[:3, 0].tolist() == [40, 41, 42]
    assert (found.distance[:3, 0] == 0).all()


def test_interval_is_student_t():
    from scipy.stats import ttest_1samp
    values = [1.0, 2.5, 0.5, 3.0]
    mean, half = metrics.interval(values)
    theirs = ttest_1samp(values, 0).confidence_interval()
    assert (mean - half, mean + half) == pytest.approx((theirs.low, theirs.high))
    assert metrics.interval([2.0]).half == math.inf
    assert metrics.interval([0.1] * 10).mean == 0.1  # not 0.09999..., which would miss a bound of 0.1
    with pytest.raises(ValueError, match="at least one value"):
        metrics.interval([])


@pytest.mark.parametrize("call", [
    lambda: metrics.frechet(gauss(9, 3), gauss(9, 4)), lambda: metrics.frechet(gauss(1, 3), gauss(9, 3)),
    lambda: metrics.wasserstein(gauss(9, 3), gauss(8, 3)), lambda: metrics.sliced_wasserstein(gauss(9, 3), gauss(8, 3)),
    lambda: metrics.nearest(gauss(2, 3), gauss(5, 3), k=6), lambda: metrics.nearest(gauss(2, 3), gauss(5, 4)),
])
def test_sets_that_do_not_fit_get_one_sentence(call):
    with pytest.raises(ValueError, match="given"):
        call()
