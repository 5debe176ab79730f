"""Exercises of notebook 08: patches, standardised latents, shared batches, combined levers, fair timings."""

import torch

from ..lab.exercises import Exercise, Wrong, same

tokens = Exercise("Images as tokens", "tokens(images, patch)")


def _images(channels=1):
    return torch.arange(2 * channels * 8 * 12.0).view(2, channels, 8, 12)


@tokens.must("(2, 1, 8, 12) with patches of 4 x 4 gives (2, 6, 16): 2 rows of 3 tokens",
             "one axis for the patches, h * w of them, and one for what is in a patch, c * p * q")
def _(answer):
    got = torch.as_tensor(answer(_images(), 4))
    if got.shape != (2, 6, 16):
        raise Wrong(f"it gives shape {tuple(got.shape)}")
    return True


@tokens.must("the pixels of a token are neighbours in the image: token 0 is the corner images[:, :, :4, :4]",
             "in 'b c (h p) (w q)' the patch's own axis is the second in the bracket: it runs fastest")
def _(answer):
    return same(answer(_images(), 4)[:, 0].sort().values, _images()[:, :, :4, :4].flatten(1).sort().values)


@tokens.must("tokens are read like text: token 1 is to the right of token 0, not below it",
             "'(h w)', not '(w h)': the last name in a bracket runs fastest")
def _(answer):
    return same(answer(_images(), 4)[:, 1].sort().values, _images()[:, :, :4, 4:8].flatten(1).sort().values)


@tokens.must("inside a token come first all pixels of channel 0, row by row, then those of channel 1",
             "'(c p q)': channel first, then the row within the patch, then the column")
def _(answer):
    return same(answer(_images(2), 2)[:, 0], _images(2)[:, :, :2, :2].flatten(1))


scale_latents = Exercise("Latents for a denoiser", "scale_latents(z)")


def _latents():
    loud = torch.tensor([0.5, 3.0, 8.0, 1.0]).view(1, 4, 1, 1)
    size = torch.rand(200, 1, 1, 1) + 0.5  # some images have larger latents than others
    return loud * size * torch.randn(200, 4, 8, 8) + torch.tensor([0.0, 2.0, -5.0, 1.0]).view(1, 4, 1, 1)


@scale_latents.must("no channel is off centre",
                    "subtract each channel's own mean over images, rows and columns: z.mean((0, 2, 3), keepdim=True)")
def _(answer):
    return same(torch.as_tensor(answer(_latents())).mean((0, 2, 3)), torch.zeros(4), 0.01)


@scale_latents.must("channels are equally loud",
                    "one spread for each channel, over images, rows and columns; one for all leaves some faint")
def _(answer):
    spread = torch.as_tensor(answer(_latents())).std((0, 2, 3))
    return same(spread / spread[0], torch.ones(4), 0.01)


@scale_latents.must("their spread is the 0.5 that EDM(sigma_data=0.5) was promised",
                    "what is divided by its spread has spread 1")
def _(answer):
    return same(torch.as_tensor(answer(_latents())).std((0, 2, 3)), torch.full((4,), 0.5), 0.01)


@scale_latents.must("one rule for all images: an image with larger latents keeps them larger",
                    "average over the images too, axis 0: with a spread of its own each image would look alike")
def _(answer):
    z = _latents()
    before, after = z[:, 1].std((1, 2)), torch.as_tensor(answer(z.clone()))[:, 1].std((1, 2))
    return same(after / after[0], before / before[0], 0.01)


joined = Exercise("One gradient from several processes", "joined(gradients, counts)")


def _shares(counts):
    """Gradients of the mean of (a x)^2 / 2 with respect to a = 1, on parts of a batch, and on the whole."""
    x = torch.randn(sum(counts), dtype=torch.float64)
    return torch.stack([part.square().mean() for part in x.split(counts)])[:, None], x.square().mean()[None]


@joined.must("processes that agree are believed", "an average of equal gradients is that gradient: do not add them up")
def _(answer):
    g = torch.full((3, 2), 5.0, dtype=torch.float64)
    return same(answer(g, torch.tensor([4, 4, 4])), g[0])


@joined.must("with equal shares it is the gradient of the whole batch",
             "each process sends the mean over its own images: the whole is the mean of the means")
def _(answer):
    parts, whole = _shares([8, 8])
    return same(answer(parts, torch.tensor([8, 8])), whole)


@joined.must("with unequal shares it is still the gradient of the whole batch",
             "a mean over 30 images counts three times as much as one over 10: weigh by counts / counts.sum()")
def _(answer):
    parts, whole = _shares([10, 30, 2])
    return same(answer(parts, torch.tensor([10, 30, 2])), whole)


speedup = Exercise("What a lever is worth", "speedup(parts, factors)")


def _t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@speedup.must("no lever, no gain: factors of 1 give 1", "old time over new time; if nothing changed, that is 1")
def _(answer):
    return same(torch.as_tensor(answer(_t(0.7, 0.2, 0.1), _t(1, 1, 1))), torch.tensor(1.0))


@speedup.must("twice as fast everywhere is twice as fast",
              "seconds are divided by the factor, and the old sum by the new one")
def _(answer):
    return same(torch.as_tensor(answer(_t(0.7, 0.2, 0.1), _t(2, 2, 2))), torch.tensor(2.0))


@speedup.must("a part that takes no time is worth nothing, however much faster it gets",
              "factors do not multiply: each shortens its own part of the step only")
def _(answer):
    return same(torch.as_tensor(answer(_t(1.0, 0.0), _t(1, 100))), torch.tensor(1.0))


@speedup.must("with all else made instant, half a step of data loading allows no more than a factor of 2",
              "add up the seconds that are left, then divide: parts.sum() / (parts / factors).sum()")
def _(answer):
    return same(torch.as_tensor(answer(_t(0.5, 0.5), _t(1e9, 1))), torch.tensor(2.0)) and same(
        torch.as_tensor(answer(_t(0.6, 0.3, 0.1), _t(3, 1, 2))), torch.tensor(1 / 0.55))


paired = Exercise("A hypothesis: a busy machine need not spoil a timing", "paired(usual, ours)")


@paired.must("a loop against itself gives 1", "a ratio of seconds, not a difference")
def _(answer):
    seconds = torch.rand(6, dtype=torch.float64) + 0.5
    return same(torch.as_tensor(answer(seconds, seconds)), torch.tensor(1.0))


@paired.must("half the seconds is twice as fast: 2",
             "images per second are one over seconds: the usual loop's stand above")
def _(answer):
    seconds = torch.rand(6, dtype=torch.float64) + 0.5
    return same(torch.as_tensor(answer(seconds, seconds / 2)), torch.tensor(2.0))


@paired.must("rounds in which the machine was busy, for both loops, change nothing",
             "first the ratio within each round, where both had the same machine; then the mean of the ratios")
def _(answer):
    usual, ours = torch.rand(2, 6, dtype=torch.float64) + 0.5
    busy = _t(1, 1, 9, 1, 30, 2)
    return same(torch.as_tensor(answer(usual * busy, ours * busy)), torch.as_tensor(answer(usual, ours)))


@paired.must("no round decides alone: five slow rounds of ours in six make it slower",
             "the best round alone is luck: use them all")
def _(answer):
    usual = torch.ones(6, dtype=torch.float64)
    return bool(torch.as_tensor(answer(usual, _t(1, 8, 8, 8, 8, 8))) < 0.9)


EXERCISES = (tokens, scale_latents, joined, speedup, paired)
