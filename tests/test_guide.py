"""Guidance: limits, geometry, and agreement with diffusers' guiders."""

import itertools
import math

import pytest
import torch

from canvaslab.diffusion import Mixture, apg, between, given, guided, last, noise, sample

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def pair():
    """Unconditional and conditional denoisers of a labelled mixture of 4 x 4 images."""
    mix = Mixture(randn(6, 1, 4, 4), 0.2, labels=torch.arange(6) % 2)
    return mix, lambda x, sigma: mix(x, sigma, torch.ones(len(x), dtype=torch.long))


class Fixed:
    """A denoiser that replays given predictions."""

    def __init__(self, values):
        self.values, self.calls = list(values), 0

    def __call__(self, x, sigma):
        self.calls += 1
        return self.values[self.calls - 1]


def test_apg_without_its_pieces_is_guided():
    weak, strong = pair()
    x, s = randn(5, 1, 4, 4, seed=1), torch.tensor(0.8, dtype=F64)
    torch.testing.assert_close(apg(weak, strong, 4.0, eta=1.0)(x, s), guided(weak, strong, 4.0)(x, s))
    assert apg(weak, strong, 1.0) is strong


def test_apg_pushes_at_right_angles_and_no_farther_than_radius():
    weak, strong = pair()
    x, s, w = randn(5, 1, 4, 4, seed=1), torch.tensor(0.8, dtype=F64), 6.0
    towards = strong(x, s)
    push = apg(weak, strong, w)(x, s) - towards
    assert (push * towards).flatten(1).sum(1).abs().max() < 1e-12 and push.abs().max() > 0.01
    for radius in (0.01, 0.1):
        push = (apg(weak, strong, w, eta=1.0, radius=radius)(x, s) - towards).flatten(1).norm(dim=1) / (w - 1)
        assert (push <= radius + 1e-12).all() and push.max() > 0.99 * radius


def test_apg_does_not_look_at_the_rest_of_the_batch():
    weak, strong = pair()
    x, s = randn(5, 1, 4, 4, seed=1), torch.tensor(0.8, dtype=F64)
    whole = apg(weak, strong, 6.0, radius=0.1)(x, s)
    torch.testing.assert_close(whole[:2], apg(weak, strong, 6.0, radius=0.1)(x[:2], s))


def test_momentum_is_a_running_sum_and_fresh_in_each_trajectory():
    a, b = [randn(2, 3, seed=i) for i in range(3)], [randn(2, 3, seed=9 + i) for i in range(3)]
    def make():
        return apg(Fixed(a), Fixed(b), 2.0, eta=1.0, momentum=-0.5)
    denoise = make()
    got = [denoise(None, 1.0) for _ in range(3)]
    d = [q - p for p, q in zip(a, b, strict=True)]
    torch.testing.assert_close(got[2], b[2] + d[2] - 0.5 * d[1] + 0.25 * d[0])
    torch.testing.assert_close(make()(None, 1.0), got[0])


def test_apg_at_a_zero_prediction_is_finite():
    out = apg(Fixed([torch.ones(2, 3)]), Fixed([torch.zeros(2, 3)]), 3.0, radius=1.0)(None, 1.0)
    assert out.isfinite().all()
    out = apg(Fixed([torch.zeros(2, 3)]), Fixed([torch.zeros(2, 3)]), 3.0, radius=1.0)(None, 1.0)
    assert torch.equal(out, torch.zeros(2, 3))


@pytest.mark.parametrize("momentum, radius, eta", [(None, 0.0, 1.0), (-0.75, 2.5, 0.0), (-0.5, 1.0, 0.3)])
def test_agreement_with_diffusers_projected_guidance(momentum, radius, eta):
    diffusers = pytest.importorskip("diffusers")
    steps, w = 4, 7.0
    a, b = [randn(3, 2, 4, 4, seed=i) for i in range(steps)], [randn(3, 2, 4, 4, seed=50 + i) for i in range(steps)]
    guider = diffusers.AdaptiveProjectedGuidance(
        guidance_scale=w - 1, adaptive_projected_guidance_momentum=momentum, eta=eta,
        adaptive_projected_guidance_rescale=radius, use_original_formulation=True,
    )  # fmt: skip
    denoise = apg(Fixed(a), Fixed(b), w, eta=eta, radius=radius or math.inf, momentum=momentum or 0.0)
    for i in range(steps):
        guider.set_state(step=i, num_inference_steps=steps, timestep=torch.tensor(i))
        guider.prepare_inputs({"x": (b[i], a[i])})
        theirs = guider.forward(b[i], a[i]).pred
        torch.testing.assert_close(denoise(None, 1.0), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start, stop", [(0.0, 1.0), (0.25, 0.75)])
def test_agreement_with_diffusers_classifier_free_guidance(start, stop):
    """The whole trajectory, with guidance in all of its steps or only in those of an interval."""
    diffusers = pytest.importorskip("diffusers")
    weak, strong = pair()
    grid, w = noise.karras(8, 0.05, 10.0), 5.0
    x = y = 10 * randn(4, 1, 4, 4, seed=1)
    guider = diffusers.ClassifierFreeGuidance(guidance_scale=w, start=start, stop=stop)
    with torch.no_grad():
        for i, (s, t) in enumerate(itertools.pairwise(grid)):
            guider.set_state(step=i, num_inference_steps=8, timestep=s)
            on = guider.num_conditions == 2
            x0 = guider.forward(strong(y, s), weak(y, s) if on else None).pred
            y = x0 + t / s * (y - x0)
    first, stopped = int(8 * start), int(8 * stop)
    both = between(guided(weak, strong, w), strong, grid[stopped - 1].item() - 1e-9, grid[first].item() + 1e-9)
    torch.testing.assert_close(last(sample(both, x, grid)), y, rtol=1e-5, atol=1e-5)


def test_between_calls_only_what_it_needs_and_mixes_within_a_batch():
    inside, outside = Fixed([torch.ones(3, 2)] * 9), Fixed([torch.zeros(3, 2)] * 9)
    denoise, x = between(inside, outside, 0.5, 2.0), torch.zeros(3, 2)
    for s, value in ((0.4, 0.0), (0.5, 1.0), (2.0, 1.0), (2.1, 0.0)):
        assert torch.equal(denoise(x, torch.tensor(s)), torch.full((3, 2), value))
    assert inside.calls == outside.calls == 2
    assert denoise(x, torch.tensor([0.1, 1.0, 3.0]))[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_guidance_refuses_what_cannot_be_meant():
    weak, strong = pair()
    with pytest.raises(ValueError, match="0 <= lo < hi"):
        between(weak, strong, 2.0, 1.0)
    with pytest.raises(ValueError, match="radius > 0"):
        apg(weak, strong, 2.0, radius=0.0)
    with pytest.raises(ValueError, match="-1 < momentum"):
        apg(weak, strong, 2.0, momentum=-1.0)


def test_a_condition_is_a_closure():
    mix = pair()[0]
    x = randn(2, 1, 4, 4)
    assert torch.equal(given(mix, torch.tensor([1, 0]))(x, 0.5), mix(x, 0.5, torch.tensor([1, 0])))
