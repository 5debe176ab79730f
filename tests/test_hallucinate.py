"""Laws of the hallucination scores: closed forms on Gaussians, independence of the batch, geometry of modes."""

import pytest
import torch
from torch.distributions import Chi2

from canvaslab.diffusion import Denoiser, Eps, Mixture, SampleNoise, ancestral, denoising_loss, euler, noise
from canvaslab.science import hallucinate as hal
from canvaslab.science.many import ManyMLP

F64 = torch.float64
GRID = torch.cartesian_prod(torch.arange(3.0, dtype=F64), torch.arange(3.0, dtype=F64))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gaussian(std, *shape):
    """One component: denoise(x) = mean + std^2 / (std^2 + sigma^2) (x - mean)."""
    return Mixture(0.3 * torch.ones(1, *shape, dtype=F64), std)


# --- trajectory variance -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 8, 8)])
def test_a_constant_trajectory_has_no_variance_and_no_change(shape):
    still = randn(*shape).expand(20, *shape)
    sigmas = noise.geometric(20)[:-1]
    assert hal.trajectory_variance(still).abs().max() < 1e-30
    assert hal.normalised_change(still, sigmas).abs().max() == 0


def test_trajectory_variance_is_the_papers_formula():
    x0_hats = randn(30, 5, 1, 8, 8)
    first, final = 12, 25
    window = x0_hats[first : final + 1]
    by_hand = (window - window.mean(0)).square().sum(0) / abs(final - first)
    torch.testing.assert_close(hal.trajectory_variance(x0_hats, first, final + 1), by_hand.flatten(1).mean(1))


def test_trajectory_variance_of_a_ramp():
    """x0_hat moving by v a step: the variance of 0 .. n-1 is n (n + 1) / 12, times v^2."""
    ramp = 0.7 * torch.arange(50, dtype=F64)[:, None, None].expand(50, 2, 3)
    torch.testing.assert_close(hal.trajectory_variance(ramp, -10), torch.full((2,), 0.49 * 10 * 11 / 12, dtype=F64))


def test_trajectory_variance_does_not_see_outside_its_window():
    a, b = randn(30, 4, 2), randn(30, 4, 2, seed=1)
    b[10:20] = a[10:20]
    assert torch.equal(hal.trajectory_variance(a, 10, 20), hal.trajectory_variance(b, 10, 20))


def test_trajectory_variance_refuses_a_window_of_one():
    with pytest.raises(ValueError, match=r"steps -1:None of 20 hold 1"):
        hal.trajectory_variance(randn(20, 4, 2), -1)


# --- normalised change -------------------------------------------------------------------------------------------


def test_normalised_change_by_hand_and_free_of_units():
    x0_hats, sigmas = randn(8, 4, 3), noise.geometric(8)[:-1]
    by_hand = sum((x0_hats[i] - x0_hats[i - 1]).square().mean(1) / sigmas[i] ** 2 for i in range(5, 8))
    torch.testing.assert_close(hal.normalised_change(x0_hats, sigmas, last=3), by_hand)
    torch.testing.assert_close(hal.normalised_change(7 * x0_hats, 7 * sigmas, last=3), by_hand)


def test_normalised_change_gathers_the_jacobian_over_log_sigma():
    """For a Gaussian under fine DDPM sampling the expectation is the integral of J^2 d log(sigma^2)."""
    std, n = 1.0, 600
    grid = noise.geometric(n, 0.2, 5.0)
    start = (std**2 + 25) ** 0.5 * randn(400, 8) + 0.3
    trace = hal.record(gaussian(std, 8), start, grid, ancestral(noise=lambda x: torch.randn(x.shape, dtype=F64)))
    score = hal.normalised_change(trace.x0_hats, trace.sigmas, last=n - 1).mean()
    levels = trace.sigmas.square()
    inside = (std**2 / (std**2 + levels)).square()
    torch.testing.assert_close(float(score), float(torch.trapezoid(inside, levels.log()).abs()), rtol=0.05, atol=0)


def test_normalised_change_needs_a_sigma_for_each_prediction():
    with pytest.raises(ValueError, match="8 predictions, 9 sigmas"):
        hal.normalised_change(randn(8, 4, 3), noise.geometric(8))


# --- Jacobian and re-noising -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 8, 8)])
@pytest.mark.parametrize("probes", [None, 4])
def test_jacobian_of_a_gaussian_is_its_shrinkage_squared(shape, probes):
    x, std, sigma = randn(5, *shape), 0.5, 0.3
    score = hal.jacobian(gaussian(std, *shape), x, sigma, probes)
    torch.testing.assert_close(score, torch.full((5,), (std**2 / (std**2 + sigma**2)) ** 2, dtype=F64))


def test_jacobian_of_a_linear_map_is_its_frobenius_norm():
    a = randn(6, 6)
    score = hal.jacobian(lambda x, sigma: x @ a.T, randn(3, 6), 0.1)
    torch.testing.assert_close(score, torch.full((3,), float(a.square().sum() / 6), dtype=F64))


def test_random_probes_are_unbiased():
    a = randn(6, 6)
    score = hal.jacobian(lambda x, sigma: x @ a.T, randn(2, 6), 0.1, probes=4000)
    torch.testing.assert_close(score, torch.full((2,), float(a.square().sum() / 6), dtype=F64), rtol=0.05, atol=0)


def test_jacobian_at_the_midpoint_of_two_modes():
    """d x0_hat / dx = gap^2 / (4 sigma^2) for points, also with one sigma a sample."""
    two = Mixture(torch.tensor([[-0.5], [0.5]], dtype=F64))
    sigma = torch.tensor([0.1, 0.3, 1.0], dtype=F64)
    score = hal.jacobian(two, torch.zeros(3, 1, dtype=F64), sigma, step=1e-4)
    torch.testing.assert_close(score.sqrt(), 1 / (4 * sigma.square()), rtol=1e-5, atol=0)


def test_renoising_of_a_gaussian():
    """(k (x + sigma eps) + (1 - k) mean - x)^2 with eps averaged out: (1 - k)^2 (x - mean)^2 + k^2 sigma^2."""
    x, std, sigma = randn(5, 4), 0.5, 0.4
    k = std**2 / (std**2 + sigma**2)
    score = hal.renoising(gaussian(std, 4), x, sigma, draws=20_000)
    expected = (1 - k) ** 2 * (x - 0.3).square().mean(1) + k**2 * sigma**2
    torch.testing.assert_close(score, expected, rtol=0.03, atol=0)


def test_renoising_prefers_no_direction():
    """Mirror images of a symmetric world score alike at any even number of draws."""
    two, x = Mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=F64), 0.1), randn(50, 2)
    for draws in (2, 8):
        torch.testing.assert_close(hal.renoising(two, -x, 0.4, draws), hal.renoising(two, x, 0.4, draws))


SCORES = {
    "jacobian": lambda d, x: hal.jacobian(d, x, 0.2),
    "jacobian by probes": lambda d, x: hal.jacobian(d, x, 0.2, probes=3),
    "renoising": lambda d, x: hal.renoising(d, x, 0.2),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_does_not_depend_on_the_batch(name):
    x = randn(6, 1, 8, 8)
    images = Mixture(randn(5, 1, 8, 8, seed=1), 0.3)
    together = SCORES[name](images, x)
    assert together.shape == (6,)
    torch.testing.assert_close(torch.cat([SCORES[name](images, one[None]) for one in x]), together)


def test_trajectory_scores_do_not_depend_on_the_batch():
    images, grid = Mixture(randn(5, 1, 8, 8, seed=1), 0.3), noise.geometric(30, 0.01, 10)

    def score(seeds):
        own = SampleNoise(seeds)
        trace = hal.record(images, 10 * own.start((1, 8, 8), F64), grid, ancestral(noise=own))
        return torch.stack([hal.trajectory_variance(trace.x0_hats), hal.normalised_change(trace.x0_hats, trace.sigmas)])

    torch.testing.assert_close(torch.cat([score([1]), score([2]), score([3])], 1), score([1, 2, 3]))


def test_scores_rank_the_midpoint_above_a_mode():
    """A sample between the modes of a smoothed denoiser stands out in both scores that need no trajectory."""
    smooth = Mixture(torch.tensor([[-1.0], [1.0]], dtype=F64), 0.25)
    x = torch.tensor([[0.0], [1.0], [-1.0]], dtype=F64)
    for score in (hal.jacobian(smooth, x, 0.1), hal.renoising(smooth, x, 0.3)):
        assert score[0] > 2 * score[1:].max()


# --- record ------------------------------------------------------------------------------------------------------


def test_record_keeps_the_last_predictions_and_their_sigmas():
    data, grid = Mixture(GRID, 0.1), noise.geometric(12, 0.01, 5)
    full = hal.record(data, 5 * randn(4, 2), grid, euler)
    tail = hal.record(data, 5 * randn(4, 2), grid, euler, keep=5)
    assert full.x0_hats.shape == (12, 4, 2) and torch.equal(full.x0_hats[-5:], tail.x0_hats)
    assert torch.equal(tail.sigmas, grid[7:12]) and torch.equal(full.x, tail.x)
    torch.testing.assert_close(full.x, full.x0_hats[-1])  # the last step of euler goes to sigma = 0, which is x0_hat


# --- judging -----------------------------------------------------------------------------------------------------


def test_perfect_and_useless_scores():
    bad = torch.arange(1000) % 50 == 0
    perfect = bad + 0.5 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert hal.removed_at(perfect, bad, 0.96) == 1 and hal.roc(perfect, bad).auc == 1
    assert hal.removed_at(-perfect, bad, 0.96) == 0 and hal.roc(-perfect, bad).auc == 0
    assert hal.removed_at(torch.ones(1000), bad) == 0 and hal.roc(torch.ones(1000), bad).auc == 0.5


def test_threshold_keeps_what_it_says():
    score, bad = randn(5000).abs(), torch.arange(5000) % 10 == 0
    for kept in (0.5, 0.96, 1.0):
        assert hal.judge(score, bad, hal.threshold(score, bad, kept)).kept == pytest.approx(kept, abs=1 / 4500)


def test_removed_at_lies_on_the_roc():
    score, bad = randn(4000), torch.arange(4000) % 4 == 0
    score[bad] += 1
    curve = hal.roc(score, bad)
    on_curve = float(curve.removed[curve.lost <= 0.04].max())
    assert hal.removed_at(score, bad, 0.96) == pytest.approx(on_curve, abs=1e-6)


@pytest.mark.parametrize("bad", [torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool), torch.ones(5)])
def test_one_kind_of_sample_cannot_be_judged(bad):
    with pytest.raises(ValueError, match="marks some samples and not all"):
        hal.roc(torch.rand(5), bad)


# --- modes -------------------------------------------------------------------------------------------------------


def test_neighbours_on_a_line_and_on_a_grid():
    line = torch.tensor([[4.0], [1.0], [2.0], [5.0]])
    assert {tuple(sorted(line[pair, 0].tolist())) for pair in hal.neighbours(line)} == {(1, 2), (2, 4), (4, 5)}
    lengths = (GRID[hal.neighbours(GRID)[:, 0]] - GRID[hal.neighbours(GRID)[:, 1]]).norm(dim=1)
    assert len(lengths) == 12 and (lengths == 1).all()  # edges, no diagonals


def test_neighbours_do_not_depend_on_the_axes():
    turn = torch.linalg.qr(randn(2, 2)).Q
    assert torch.equal(hal.neighbours(GRID), hal.neighbours(3 * GRID @ turn + 1))


def test_distance_to_segments():
    modes, pairs = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0, 1]])
    x = torch.tensor([[0.5, 0.0], [0.5, 0.3], [-3.0, 4.0], [2.0, 0.0]])
    torch.testing.assert_close(hal.distance_to_segments(x, modes, pairs), torch.tensor([0.0, 0.3, 5.0, 1.0]))


@pytest.mark.parametrize("modes", [GRID, GRID[:3, 1:]])
def test_exact_samples_are_never_hallucinated_and_fit(modes):
    std, dim = 0.05, modes.shape[1]
    x = Mixture(modes, std).draw(20_000, torch.Generator().manual_seed(0))
    assert not hal.hallucinated(x, modes, std).any()
    assert hal.fit_ratio(x, modes, std) == pytest.approx(1, abs=0.02)
    within_two = float((hal.distance_to_modes(x, modes) < 2 * std).double().mean())
    assert within_two == pytest.approx(float(Chi2(dim).cdf(torch.tensor(4.0))), abs=0.01)


# --- many nets at once -------------------------------------------------------------------------------------------


def test_copies_do_not_meet():
    """Each copy alone gives what it gives among the others, and its gradient sees only its own rows."""
    net = ManyMLP(3, 2, width=16)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, told = torch.randn(12, 2), torch.randn(12)
    whole = net(x, told)
    for k in range(3):
        rows = slice(4 * k, 4 * k + 4)
        torch.testing.assert_close(net.only(k)(x[rows], told[rows]), whole[rows])
    whole[4:8].square().sum().backward()
    for p in net.parameters():
        assert p.grad[1].abs().sum() > 0 and p.grad[[0, 2]].abs().max() == 0


def test_copies_serve_as_one_denoiser_and_start_from_their_own_seeds():
    denoise = Denoiser(ManyMLP(2, 1, seed=5), Eps())
    loss = denoising_loss(denoise, torch.randn(8, 1), torch.rand(8) + 0.1, Eps())
    assert loss.shape == (8,)
    more = ManyMLP(4, 1, seed=5)
    for two, four in zip(denoise.net.parameters(), more.parameters(), strict=True):
        assert torch.equal(two, four[:2])
    assert not torch.equal(more.weights[0][0], more.weights[0][1])


def test_rows_that_do_not_share_out_are_refused():
    with pytest.raises(ValueError, match=r"accepted: \(3 copies \* B, 2\)"):
        ManyMLP(3, 2)(torch.zeros(4, 2), torch.zeros(4))


# --- several scores at once --------------------------------------------------------------------------------------


def test_the_worst_of_scores_knows_no_units_and_finds_what_any_one_of_them_sees():
    scores = randn(3, 400).exp()
    scores[0, 7], scores[2, 9] = 1e4, 1e4
    worst = hal.worst_of(scores)
    assert set(worst.topk(2).indices.tolist()) == {7, 9}
    units = torch.tensor([[1.0], [1e6], [1e-6]], dtype=F64)
    torch.testing.assert_close(hal.worst_of(units * scores), worst)
    torch.testing.assert_close(hal.worst_of(scores[[2, 0, 1]]), worst)
    torch.testing.assert_close(hal.worst_of(scores[:1]), hal.worst_of(scores[:1].repeat(4, 1)))


def test_the_worst_of_scores_refuses_what_has_no_logarithm():
    with pytest.raises(ValueError, match=r"accepted: \(scores, samples\), all above 0"):
        hal.worst_of(torch.zeros(2, 5))
