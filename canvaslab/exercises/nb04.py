"""Exercises of notebook 04: data for the network, hidden labels, guidance, averaged weights, distance of two clouds."""

import torch

from ..lab.exercises import Exercise, Wrong, same

prepare = Exercise("Images for the network", "prepare(images)")


def _grey(n=64):
    """Images with a dark background and shades like the real ones, (n, 1, 28, 28) uint8."""
    light = 255 * torch.rand(n, 1, 28, 28) ** 2
    return (light * (torch.rand(n, 1, 1, 1) * 0.8 + 0.2)).to(torch.uint8)


@prepare.must("the whole set has mean 0", "take off the mean of the whole set, once it is a floating-point tensor")
def _(answer):
    return same(answer(_grey()).mean(), torch.tensor(0.0), 0.01)


@prepare.must("the whole set has the standard deviation 0.5 that EDM(sigma_data=0.5) expects",
              "dividing by the standard deviation gives 1; what is wanted is half of that")
def _(answer):
    return same(answer(_grey()).std(), torch.tensor(0.5), 0.01)


@prepare.must("one rule for all images: the same grey value becomes the same number everywhere",
              "one mean and one standard deviation for the whole set; with its own for each image, a dark coat and a "
              "light one would look alike")
def _(answer):
    images = _grey()
    ready = torch.as_tensor(answer(images.clone()))
    if ready.shape != images.shape:
        raise Wrong(f"it gives shape {tuple(ready.shape)} for images of shape {tuple(images.shape)}")
    shades = [ready[images == value] for value in images.unique()[:40]]
    return all(bool((shade - shade[0]).abs().max() < 1e-4) for shade in shades)


@prepare.must("brighter stays brighter", "the sign: subtract the mean from the image, not the image from the mean")
def _(answer):
    images = _grey()
    ready = answer(images.clone())
    return bool(ready[images > 150].min() > ready[images < 50].max())


hide_labels = Exercise("Hide one label in ten", "hide_labels(label, share)")


def _labels(n=20_000):
    return torch.arange(n) % 10


@hide_labels.must("share = 0 hides nothing and share = 1 hides everything",
                  "torch.rand(n) < share is true for that share of the batch; torch.where(condition, -1, label) hides "
                  "there")
def _(answer):
    return same(answer(_labels(), 0.0), _labels()) and same(answer(_labels(), 1.0), torch.full_like(_labels(), -1))


@hide_labels.must("every label has its own coin: in one batch some are hidden and some are not",
                  "draw as many random numbers as there are labels, not one for the batch")
def _(answer):
    hidden = [(answer(_labels(), 0.5) == -1).double().mean() for _ in range(3)]
    return all(0.4 < share < 0.6 for share in hidden)


@hide_labels.must("a fresh draw each time, and a label is either hidden or as it was",
                  "do not fix a seed inside: another batch hides other labels")
def _(answer):
    first, second = answer(_labels(), 0.3), answer(_labels(), 0.3)
    kept = first != -1
    return not bool((first == second).all()) and same(first[kept], _labels()[kept])


@hide_labels.must("the labels that were given are still there afterwards",
                  "label[...] = -1 writes into the data set itself, where nobody will find the label again: make a new "
                  "tensor")
def _(answer):
    label = _labels()
    answer(label, 0.5)
    return same(label, _labels())


guide = Exercise("Guidance", "guide(plain, labelled, w)")


def _pair():
    return torch.randn(2, 3, 1, 4, 4)


@guide.must("if the label changes nothing, neither does guidance",
            "guidance exaggerates the *difference* that the label makes; with no difference, no w matters")
def _(answer):
    plain, _ = _pair()
    return all(same(answer(plain, plain, w), plain) for w in (0.0, 1.0, 4.0))


@guide.must("a larger w goes further from plain towards labelled, and beyond",
            "which of the two is the start, and which the direction? Start at plain, go along labelled - plain")
def _(answer):
    plain, labelled = _pair()
    step = answer(plain, labelled, 3.0) - answer(plain, labelled, 2.0)
    return bool((step * (labelled - plain) >= 0).all()) and bool(step.abs().max() > 0)


@guide.must("w = 0 is without the label, w = 1 is the plain conditional model",
            "this course counts from plain: plain + w (labelled - plain). Papers with (1 + w) count from labelled")
def _(answer):
    plain, labelled = _pair()
    return same(answer(plain, labelled, 0.0), plain) and same(answer(plain, labelled, 1.0), labelled)


@guide.must("w = 3 exaggerates the difference three times",
            "nothing bounds w by 1: do not clamp it, and do not clip the result")
def _(answer):
    plain, labelled = _pair()
    return same(answer(plain, labelled, 3.0), 3 * labelled - 2 * plain)


averaged = Exercise("Averaged weights", "averaged(old, new, n, gamma)")


def _run(answer, values, gamma):
    kept = torch.tensor(1e6, dtype=torch.float64)  # the random initial weight, which must be forgotten
    for n, value in enumerate(values, start=1):
        kept = torch.as_tensor(answer(kept, torch.tensor(float(value), dtype=torch.float64), n, gamma))
    return kept


@averaged.must("after the first step, n = 1, the average is the new weights",
               "beta is the share of the old average, and (1 - 1/1) to any power above 0 is 0")
def _(answer):
    return same(_run(answer, [3.0], 2.0), torch.tensor(3.0)) and same(_run(answer, [3.0, 3.0], 2.0), torch.tensor(3.0))


@averaged.must("with gamma = 0 it is the plain mean of all steps",
               "the exponent is gamma + 1: at gamma = 0 the n-th step counts 1 / n")
def _(answer):
    return same(_run(answer, [1.0, 5.0, 9.0, 13.0], 0.0), torch.tensor(7.0))


@averaged.must("step k of n counts (k^(gamma + 1) - (k - 1)^(gamma + 1)) / n^(gamma + 1)",
               "the power is of the whole bracket: (1 - 1 / n) ** (gamma + 1), not 1 - 1 / n ** (gamma + 1)")
def _(answer):
    for gamma in (1.0, 6.94):
        k = torch.arange(0, 9, dtype=torch.float64) ** (gamma + 1)
        values = torch.arange(1, 9, dtype=torch.float64).square()
        same(_run(answer, values, gamma), (k.diff() * values).sum() / 8 ** (gamma + 1))
    return True


cloud_distance = Exercise("The distance of two clouds", "cloud_distance(mean_a, std_a, mean_b, std_b)")


def _cloud():
    return torch.randn(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64) + 0.5


@cloud_distance.must("a cloud is at distance 0 from itself, and at distance > 0 from one with another spread",
                     "means alone do not tell a cloud from its own blurred copy: compare the spreads as well")
def _(answer):
    mean, std = _cloud()
    return same(answer(mean, std, mean, std), torch.tensor(0.0)) and bool(answer(mean, std, mean, 2 * std) > 0)


@cloud_distance.must("there and back are equally far",
                     "square the differences; a divergence such as KL is not symmetric")
def _(answer):
    a, b = _cloud(), _cloud()
    return same(answer(*a, *b), answer(*b, *a))


@cloud_distance.must("it has the unit of the features squared: in units half the size, four times the number",
                     "differences of standard deviations are squared, not differences of variances; no root at the end")
def _(answer):
    a, b = _cloud(), _cloud()
    return same(torch.as_tensor(answer(*(2 * x for x in (*a, *b)))), 4 * torch.as_tensor(answer(*a, *b)))


@cloud_distance.must("for features that do not vary together it is what metrics.frechet measures on the clouds",
                     "sum over the features; the means' part and the spreads' part count alike")
def _(answer):
    from ..lab.metrics import frechet

    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)  # mean 0, uncorrelated
    unit = signs / signs.std(0)
    (mean_a, std_a), (mean_b, std_b) = _cloud(), _cloud()
    return same(answer(mean_a, std_a, mean_b, std_b), frechet(mean_a + std_a * unit, mean_b + std_b * unit))


EXERCISES = (prepare, hide_labels, guide, averaged, cloud_distance)
