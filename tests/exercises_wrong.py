"""Plausible wrong answers: every one must fail its check, and no two of an exercise with the same hint.

`WRONG["01"]["score"]` is the list of those for exercise `score` of notebook 01.
"""

import math

import torch


def mutating(label, share):
    label[torch.rand(len(label)) < share] = -1
    return label


def seeded(label, share):
    torch.manual_seed(0)
    return torch.where(torch.rand(len(label)) < share, -1, label)


def each_its_own(images):
    images = images.float()
    off = images - images.mean((1, 2, 3), keepdim=True)
    return off / images.std((1, 2, 3), keepdim=True) * 0.5


def standard(images):
    images = images.float()
    return (images - images.mean()) / images.std()


def kullback_leibler(mean_a, std_a, mean_b, std_b):
    ratio = (std_a / std_b) ** 2
    return ((ratio + ((mean_a - mean_b) / std_b) ** 2 - 1 - ratio.log()) / 2).sum()


def overflowing(x, sigma):
    odds = torch.exp(2 * x / sigma**2)
    return (odds - 1) / (odds + 1)


def decay(beta):
    """An average with another share of the old one."""
    return lambda old, new, n, gamma: beta(n, gamma) * old + (1 - beta(n, gamma)) * new


WRONG = {
    "00": {
        "add_noise": [
            lambda x0, sigma, eps: x0 + eps,
            lambda x0, sigma, eps: x0 + sigma.view(-1, *[1] * (x0.ndim - 1)) ** 2 * eps,
            lambda x0, sigma, eps: (1 - sigma**2).abs().sqrt()[:, None] * x0 + sigma[:, None] * eps,
            lambda x0, sigma, eps: x0 + sigma[:, None] * eps,
        ],
        "clocks": [
            lambda sigma: (1 / (1 + sigma**2), -sigma.log()),
            lambda sigma: (1 / (1 + sigma), -2 * sigma.log()),
            lambda sigma: (1 - sigma**2, -2 * sigma.log()),
        ],
        "two_points": [
            lambda x, sigma: x.sign(),
            lambda x, sigma: x.tanh(),
            lambda x, sigma: (x / sigma).tanh(),
            overflowing,
        ],
        "claim_holds": [
            lambda measured, control, at_most: measured < control,
            lambda measured, control, at_most: measured <= at_most,
            lambda measured, control, at_most: measured <= at_most <= control,
        ],
    },
    "01": {
        "score": [
            lambda denoise, x, sigma: (x - denoise(x, sigma)) / sigma**2,
            lambda denoise, x, sigma: denoise(x, sigma) - x,
            lambda denoise, x, sigma: (denoise(x, sigma) - x) / sigma,
        ],
        "euler_step": [
            lambda denoise, x, s, t: x + t / s * (denoise(x, s) - x),
            lambda denoise, x, s, t: denoise(x, s) + s / t * (x - denoise(x, s)),
            lambda denoise, x, s, t: denoise(x, s) + (t / s).sqrt() * (x - denoise(x, s)),
            lambda denoise, x, s, t: denoise(x, t) + t / s * (x - denoise(x, t)),
        ],
        "whole_path": [
            lambda x, s, t, d: x * (d**2 + t**2) / (d**2 + s**2),
            lambda x, s, t, d: x * t / s,
            lambda x, s, t, d: x * (d + t) / (d + s),
            lambda x, s, t, d: x * ((d**2 + s**2) / (d**2 + t**2)).sqrt(),
        ],
        "loss_floor": [
            lambda sigma, d: sigma**2,
            lambda sigma, d: d**2,
            lambda sigma, d: sigma * d / (sigma**2 + d**2).sqrt(),
            lambda sigma, d: (sigma * d / (sigma + d)) ** 2,
        ],
        "order": [
            lambda error: math.log(error(100) / error(50)) / math.log(2),
            lambda error: error(50) / error(100),
            lambda error: math.log(error(50) / error(100)),
            lambda error: math.log(error(1) / error(2)) / math.log(2),
        ],
    },
    "04": {
        "prepare": [
            lambda images: images / 255,
            standard,
            each_its_own,
            lambda images: -standard(images) / 2,
        ],
        "hide_labels": [
            lambda label, share: torch.where(torch.rand(len(label)) > share, -1, label),
            lambda label, share: torch.where(torch.rand(()) < share, -1, label),
            seeded,
            mutating,
        ],
        "guide": [
            lambda plain, labelled, w: plain + w * labelled,
            lambda plain, labelled, w: labelled + w * (plain - labelled),
            lambda plain, labelled, w: (1 + w) * labelled - w * plain,
            lambda plain, labelled, w: plain + min(w, 2.5) * (labelled - plain),
        ],
        "averaged": [
            lambda old, new, n, gamma: (1 - 1 / n) ** (gamma + 1) * new + (1 - (1 - 1 / n) ** (gamma + 1)) * old,
            decay(lambda n, gamma: (1 - 1 / n) ** gamma if n > 1 else 0.0),
            decay(lambda n, gamma: 1 - 1 / n ** (gamma + 1)),
        ],
        "cloud_distance": [
            lambda mean_a, std_a, mean_b, std_b: ((mean_a - mean_b) ** 2).sum(),
            kullback_leibler,
            lambda mean_a, std_a, mean_b, std_b: ((mean_a - mean_b) ** 2 + (std_a**2 - std_b**2) ** 2).sum(),
            lambda mean_a, std_a, mean_b, std_b: ((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2).mean(),
        ],
    },
}
