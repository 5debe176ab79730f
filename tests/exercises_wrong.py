"""Plausible wrong answers: every one must fail its check, and no two of an exercise with the same hint.

`WRONG["01"]["score"]` is the list of those for exercise `score` of notebook 01. `ALSO_RIGHT` has right answers that are
not the folded solution: they must pass.
"""

import math

import torch
from einops import rearrange
from scipy.ndimage import label


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


def score_rule(skip=1.0, out=lambda s: s**2, into=lambda s: (1 + s**2).rsqrt()):
    return lambda sigma: (skip + 0 * sigma, out(sigma), into(sigma), sigma.log() / 4)


def weights_in_eps(eps=lambda s: 1 + 0 * s, x0=lambda s: s**2, v=lambda s: 1 + s**2, flow=lambda s: (1 + s) ** 2):
    rules = {"eps": eps, "x0": x0, "v": v, "flow": flow}
    return lambda name, s: rules[name](s)


def resampled(weight, low=-6.0, high=6.0):
    """Levels even in logSNR, drawn again by a weight of v's loss."""

    def levels(n, spread):
        sigma = torch.exp(-torch.linspace(low, high, 5 * n) / 2)
        loss = spread**2 * (1 + sigma**2) / (sigma**2 + spread**2)
        return sigma[torch.multinomial(weight(loss), n, replacement=True)]

    return levels


def midpoint(full=True, level=True, moved=True, between=lambda s, t: (s * t).sqrt()):
    """The midpoint method, and what it becomes with one thing wrong."""

    def step(denoise, x, s, t):
        m = between(s, t)
        middle = torch.lerp(denoise(x, s), x, m / s)
        slope = ((middle if moved else x) - denoise(middle if moved else x, m)) / (m if level else s)
        return (x if full else middle) + (t - s) * slope

    return step


def adams(new, old):
    """A step with weights that depend on the ratio of this step to the last."""

    def step(x, f, f_last, last, s, t):
        r = (t - s) / (s - last)
        return x + (t - s) * (new(r) * f + old(r) * f_last)

    return step


def down_up(up, down=lambda t, up: (t**2 - up**2).clamp_min(0).sqrt()):
    return lambda s, t, eta: (down(t, up(s, t, eta)), up(s, t, eta))


def student(a, b, t=4.302652729911275):
    """Mean and half-width of a - b for three seeds, and roughly for many."""
    d = a - b
    return d.mean(), (t if len(d) == 3 else 2.0) * d.std() / len(d) ** 0.5


def pooled_mean(error, side):
    return torch.nn.functional.avg_pool2d(error, error.shape[-1] // side).square().mean()


def slopes(denoise, x, sigma, share):
    """(coordinate, B, D) central differences of half-width share * sigma, one coordinate at a time."""
    nudges = share * sigma * torch.eye(x.shape[1]).to(x)
    return torch.stack([(denoise(x + h, sigma) - denoise(x - h, sigma)) / (2 * share * sigma) for h in nudges])


def tidy(seen):
    return seen.diagonal(dim1=1, dim2=2).sum(1) == seen.sum((1, 2))


WRONG = {
    "02": {
        "score_rule": [
            score_rule(skip=0.0),
            score_rule(into=lambda s: torch.ones_like(s)),
            score_rule(out=lambda s: -(s**2)),
            score_rule(out=lambda s: s),
        ],
        "eps_from_v": [
            lambda v, z, alpha_bar: (1 - alpha_bar).sqrt() * v + alpha_bar.sqrt() * z,
            lambda v, z, alpha_bar: alpha_bar.sqrt() * v - (1 - alpha_bar).sqrt() * z,
            lambda v, z, alpha_bar: alpha_bar * v + (1 - alpha_bar) * z,
        ],
        "weight_in_eps": [
            weights_in_eps(eps=lambda s: s**-4),
            weights_in_eps(x0=lambda s: s),
            weights_in_eps(v=lambda s: 1 + s**-2),
            weights_in_eps(flow=lambda s: 1 + s**2),
        ],
        "even_levels": [
            resampled(lambda loss: 1 / loss, -20.0, 20.0),
            lambda n, spread: 0.05 + 20 * torch.rand(n),
            resampled(lambda loss: loss),
            resampled(lambda loss: 1 + 0 * loss),
        ],
        "worst_ratio": [
            lambda error: error.amax(1) - error.amin(0).amax(),
            lambda error: error.amax(1) / error.amax(1).amin(),
            lambda error: (error / error.amin(0)).mean(1),
        ],
    },
    "03": {
        "midpoint": [
            midpoint(full=False),
            midpoint(level=False),
            lambda denoise, x, s, t: torch.lerp(denoise(x, s), x, t / s),
            midpoint(moved=False),
        ],
        "ab2_step": [
            adams(lambda r: 1.5, lambda r: 0.5),
            adams(lambda r: 1 - r / 2, lambda r: r / 2),
            adams(lambda r: 1 + 0.5 / r, lambda r: -0.5 / r),
            adams(lambda r: 1.5, lambda r: -0.5),
        ],
        "heun_growth": [
            lambda z: z + z**2 / 2,
            lambda z: 1 + z,
            torch.exp,
        ],
        "split_noise": [
            down_up(lambda s, t, eta: t * (1 - t**2 / s**2).sqrt()),
            down_up(lambda s, t, eta: eta * t * (1 - t**2 / s**2).sqrt(), lambda t, up: t - up),
            down_up(lambda s, t, eta: eta.sqrt() * t * (1 - t**2 / s**2).sqrt()),
            down_up(lambda s, t, eta: eta * t),
        ],
        "effect": [
            lambda a, b: student(b, a),
            lambda a, b: (a.mean() - b.mean(), 4.3 * ((a.var() + b.var()) / len(a)).sqrt()),
            lambda a, b: ((a - b).mean(), 2 * (a - b).std()),
            lambda a, b: student(a, b, 1.96),
        ],
    },
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
    "05": {
        "across": [
            lambda push, towards: (push * towards).sum(1, keepdim=True) / (towards**2).sum(1, keepdim=True) * towards,
            lambda push, towards: push - (push * towards).sum() / towards.square().sum() * towards,
        ],
        "weight": [
            lambda sigma, w, lo, hi: torch.where((sigma >= lo) & (sigma <= hi), w, 0.0),
            lambda sigma, w, lo, hi: torch.where((sigma > lo) & (sigma < hi), w, 1.0),
            lambda sigma, w, lo, hi: torch.where((sigma >= lo) & (sigma <= hi), 1.0, w),
        ],
        "tilted_variance": [
            lambda s, S, w: s**2 / w,
            lambda s, S, w: w * s**2 + (1 - w) * S**2,
            lambda s, S, w: s**2 * (s / S) ** (2 * (w - 1)),
        ],
        "guided_variance": [
            lambda s, S, w: 1 / (w / s**2 + (1 - w) / S**2),
            lambda s, S, w: s**2 * (s / S) ** (2 * w),
            lambda s, S, w: s**2 * (s / S) ** (w - 1),
        ],
    },
    "08": {
        "tokens": [
            lambda images, patch: rearrange(images, "b c (p h) (q w) -> b (h w) (c p q)", p=patch, q=patch),
            lambda images, patch: rearrange(images, "b c (h p) (w q) -> b (w h) (c p q)", p=patch, q=patch),
            lambda images, patch: rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch, q=patch),
            lambda images, patch: rearrange(images, "b c (h p) (w q) -> b (c p q) (h w)", p=patch, q=patch),
        ],
        "scale_latents": [
            lambda z: z / z.std((0, 2, 3), keepdim=True) * 0.5,
            lambda z: (z - z.mean((0, 2, 3), keepdim=True)) / z.std() * 0.5,
            lambda z: (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True),
            lambda z: (z - z.mean((2, 3), keepdim=True)) / z.std((2, 3), keepdim=True) * 0.5,
        ],
        "joined": [
            lambda gradients, counts: gradients.sum(0),
            lambda gradients, counts: gradients[0],
            lambda gradients, counts: gradients.mean(0),
        ],
        "speedup": [
            lambda parts, factors: (parts / factors).sum() / parts.sum() - 1,
            lambda parts, factors: (parts / factors).sum() / parts.sum(),
            lambda parts, factors: factors.max(),
            lambda parts, factors: (parts * factors).sum() / parts.sum(),
        ],
        "paired": [
            lambda usual, ours: (ours / usual).mean(),
            lambda usual, ours: usual.mean() / ours.mean(),
            lambda usual, ours: (usual / ours).max(),
            lambda usual, ours: (usual - ours).mean(),
        ],
    },
    "06": {
        "pooled_sigma": [
            lambda sigma, k: sigma / k**2 * 4 if k > 1 else sigma,
            lambda sigma, k: sigma * k,
            lambda sigma, k: sigma / k**0.5,
            lambda sigma, k: sigma / (k * k + 1),
        ],
        "shifted_time": [
            lambda t, side, base: -((torch.pi / 2 * t).tan().log()),
            lambda t, side, base: -2 * (torch.pi / 2 * t).tan().log() + 2 * math.log(side / base),
            lambda t, side, base: -2 * (torch.pi / 2 * t).tan().log() + math.log(base / side),
            lambda t, side, base: -2 * (torch.pi / 2 * t ** (base / side)).tan().log(),
        ],
        "eps_weight": [
            lambda logsnr, bias: torch.sigmoid(logsnr - bias),
            lambda logsnr, bias: math.exp(bias) * torch.sigmoid(bias - logsnr),
            lambda logsnr, bias: torch.sigmoid((bias - logsnr) / 2),
        ],
        "multiscale": [
            lambda error, sides: error.square().mean() * sum(1 / s for s in sides),
            lambda error, sides: pooled_mean(error, sides[-1]) / sides[-1],
            lambda error, sides: sum(pooled_mean(error, s) * s / 256 for s in sides),
            lambda error, sides: sum(pooled_mean(error, s) for s in sides),
        ],
    },
    "10": {
        "two_points": [
            lambda x, sigma, gap: gap / 2 * torch.tanh(gap * x / sigma**2),
            lambda x, sigma, gap: gap / 2 * x.sign(),
            lambda x, sigma, gap: torch.tanh(gap * x / (2 * sigma**2)),
            lambda x, sigma, gap: gap * torch.sigmoid(gap * x / sigma**2),
        ],
        "paper_variance": [
            lambda x0_hats, start, stop: x0_hats[start:stop].var(1).mean(-1),
            lambda x0_hats, start, stop: x0_hats[start:stop].std(0).mean(-1),
            lambda x0_hats, start, stop: x0_hats.var(0).mean(-1),
            lambda x0_hats, start, stop: x0_hats[start:stop].var(0, correction=0).mean(-1),
        ],
        "cut": [
            lambda score, bad: score.quantile(0.96),
            lambda score, bad: score[~bad].quantile(0.04),
            lambda score, bad: score[~bad].mean() + 1.75 * score[~bad].std(),
        ],
        "slope2": [
            lambda denoise, x, sigma: slopes(denoise, x, sigma, 0.01).mul(2).square().sum((0, 2)) / x.shape[1],
            lambda denoise, x, sigma: ((denoise(x + 1e-3, sigma) - denoise(x - 1e-3, sigma)) / 2e-3).square().mean(1),
            lambda denoise, x, sigma: slopes(denoise, x, sigma, 0.01).abs().sum((0, 2)) / x.shape[1],
            lambda denoise, x, sigma: slopes(denoise, x, sigma, 2.0).square().sum((0, 2)) / x.shape[1],
        ],
    },
    "12": {
        "components": [
            lambda on: label(on)[1],
            lambda on: label(on, [[1] * 3] * 3)[0].max() + 1,
            lambda on: int(on.any()),
        ],
        "possible": [
            lambda seen, fragments: tidy(seen) & (fragments.sum(1) == 0) & (seen.sum(1) <= 1).all(1),
            lambda seen, fragments: (seen.sum(1) <= 1).all(1) & (seen.sum((1, 2)) > 0) & (fragments.sum(1) == 0),
            lambda seen, fragments: tidy(seen) & (seen.sum((1, 2)) > 0) & (fragments.sum(1) == 0),
            lambda seen, fragments: tidy(seen) & (seen.sum((1, 2)) > 0) & (seen.sum(1) <= 1).all(1),
        ],
        "there": [
            lambda odds: odds.sigmoid(),
            lambda odds: odds.softmax(1),
            lambda odds: odds.sigmoid() / (1 - (1 - odds.sigmoid()).amin(1, keepdim=True) ** 3),
        ],
        "alarm": [
            lambda scores: scores.sum(0),
            lambda scores: (scores.log() / scores.log().std(1, keepdim=True)).mean(0),
            lambda scores: scores.amax(1),
        ],
    },
    "11": {
        "refit_variance": [
            lambda n, generations: 1 - 1 / n * (generations + 1),
            lambda n, generations: 1 - generations / n,
            lambda n, generations: (1 - 1 / n**2 * 2) ** generations,
        ],
        "off_support": [
            lambda x, modes, std: torch.cdist(x, modes).max(1).values > 6 * std,
            lambda x, modes, std: torch.cdist(x, modes).min(1).values < -6 * std,
            lambda x, modes, std: torch.cdist(x, modes, p=math.inf).min(1).values > 6 * std,
            lambda x, modes, std: torch.cdist(x, modes).min(1).values > 0.6,
        ],
        "cut": [
            lambda score, share: share * score.max(),
            lambda score, share: score[int(share * len(score))],
            lambda score, share: score.quantile(1 - share),
        ],
        "handed_on": [
            lambda rate, removed, lost: rate * (1 - removed),
            lambda rate, removed, lost: rate * (1 - removed) / (rate * (1 - removed) + 1 - rate),
            lambda rate, removed, lost: rate * removed / (rate * removed + (1 - rate) * lost + 1e-9),
            lambda rate, removed, lost: rate * (1 - lost),
        ],
        "resting_rate": [
            lambda base, growth, fresh: base / (1 - growth * (1 - fresh)),
            lambda base, growth, fresh: base / (1 - growth * fresh) if growth * fresh < 1 else math.inf,
            lambda base, growth, fresh: base + growth * (1 - fresh) if growth * (1 - fresh) < 1 else math.inf,
        ],
    },
}

ALSO_RIGHT = {
    "03": {"midpoint": [midpoint(between=lambda s, t: (s + t) / 2)]},
    "08": {
        "paired": [
            lambda usual, ours: (usual / ours).median(),
            lambda usual, ours: (usual / ours).log().mean().exp(),
        ]
    },
}
