"""The denoiser that ships draws what it was trained to draw, and its parts are moments of one training."""

import pytest
import torch

from canvaslab.diffusion import dpmpp_2m, given, guided, last, noise, pretrained_denoiser, sample
from canvaslab.nets import pretrained


def drawn(denoise, to_unit, n=60):
    labels = torch.arange(n) % 10
    start = 40 * torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    both = guided(given(denoise, torch.full_like(labels, -1)), given(denoise, labels), 2.0)
    return to_unit(last(sample(both, start, noise.karras(8, 0.03, 40), dpmpp_2m()))), labels


def test_its_samples_are_of_the_class_asked_for_and_the_early_ones_less_so():
    judge, agreement = pretrained("fashion-mnist", role="judge"), {}
    for part in ("model", "early"):
        images, labels = drawn(*pretrained_denoiser(part, say=False))
        assert images.min() >= 0 and images.max() <= 1
        agreement[part] = judge(images).argmax(1).eq(labels).float().mean().item()
    assert agreement["model"] > 0.8 > agreement["early"]


def test_it_is_ready_for_use_and_says_where_it_was_made(capsys):
    denoise, _ = pretrained_denoiser()
    assert not denoise.training and not any(p.requires_grad for p in denoise.parameters())
    assert "04_model, made in" in capsys.readouterr().out


def test_a_part_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="'late'; the parts: early, half EMA, half last, last, model"):
        pretrained_denoiser("late", say=False)
