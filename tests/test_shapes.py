"""Laws of the shapes: the support listed, its ideal denoiser in closed form, pictures counted without error."""

import pytest
import torch

from canvaslab.data import load, shapes
from canvaslab.diffusion import Mixture, euler, last, noise, sample

F64 = torch.float64


@pytest.fixture(scope="module")
def support():
    return shapes.every()


def picture(*parts, size=16):
    """One picture (1, 1, rows, columns) with the shape `kind` put with its corner at (row, column), for each part."""
    x = torch.zeros(shapes.canvas(size).rows, shapes.canvas(size).columns)
    for kind, row, column in parts:
        mask = shapes.templates(size)[shapes.KINDS.index(kind)]
        spot = x[row : row + len(mask), column : column + len(mask)]
        x[row : row + len(mask), column : column + len(mask)] = torch.maximum(spot, mask.float())
    return x[None, None]


# --- what is drawn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 64])
def test_shapes_fill_their_box_and_are_symmetric(size):
    for mask in shapes.templates(size):
        assert mask.any(0).all()
        assert mask.any(1).all()
        assert torch.equal(mask, mask.flip(1))
    triangle, square, pentagon = shapes.templates(size).sum((1, 2)).tolist()
    side = shapes.canvas(size).side
    assert square == side**2
    assert triangle == pytest.approx(side**2 / 2, rel=0.35)
    # Exact area of a regular pentagon stretched to a square: roof (base .618) .382 / 2 + wall .618 (1 + .618) / 2.
    assert pentagon == pytest.approx(0.691 * side**2, rel=0.15)


def test_the_support_is_listed_once_and_weighs_one(support):
    x, weight = support
    assert len(x) == 34**3 - 1 == len(x.flatten(1).unique(dim=0))
    assert float(weight.sum()) == pytest.approx(1, abs=1e-12)
    assert (weight > 0).all()


@pytest.mark.parametrize("size", [16, 64])
def test_what_is_loaded_is_possible_and_labelled(size):
    data = load("shapes", size=size, n=700, seed=3)
    assert data.x.unique().tolist() == [0, 255]
    found = shapes.count(data.x, size)
    assert found.possible.all()
    for column, kind in enumerate(shapes.KINDS):
        named = torch.tensor([kind in name for name in data.classes])[data.y]
        assert torch.equal(found.shapes[:, column, column], named.long())
    assert int(found.shapes.sum()) == int(found.shapes.diagonal(dim1=1, dim2=2).sum())
    share = torch.bincount(data.y, minlength=7) / 700
    assert (share - 1 / 7).abs().max() < 5 * (1 / 7 * 6 / 7 / 700) ** 0.5


def test_a_draw_is_a_function_of_split_size_and_seed():
    one = load("shapes", n=50, seed=1)
    assert torch.equal(one.x, load("shapes", n=50, seed=1).x)
    assert not torch.equal(one.x, load("shapes", n=50, seed=2).x)
    assert not torch.equal(one.x, load("shapes", "test", n=50, seed=1).x)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match=r"no canvas of 32 rows; accepted: 16, 64"):
        load("shapes", size=32)
    with pytest.raises(ValueError, match=r"43,243,550 pictures; accepted: 16"):
        shapes.every(64)
    with pytest.raises(ValueError, match=r"n is 0"):
        load("shapes", n=0)
    with pytest.raises(ValueError, match=r"accepted for size=16: \(N, 1, 16, 24\)"):
        shapes.count(torch.zeros(2, 1, 28, 28))


# --- counting ----------------------------------------------------------------------------------------------------


def test_every_possible_picture_is_counted_as_possible(support):
    x, _ = support
    some = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:4000]]
    assert shapes.count(some).possible.all()


@pytest.mark.parametrize(
    ("parts", "twice", "misplaced", "broken"),
    [
        ([("triangle", 0, 0), ("triangle", 9, 1)], True, False, False),  # two in their own column
        ([("triangle", 0, 0), ("triangle", 3, 9)], True, True, False),  # the second stands in the squares' column
        ([("square", 5, 17)], False, True, False),
        ([("square", 5, 5)], False, False, True),  # astride a border
        ([("square", 2, 9), ("square", 5, 9)], False, False, True),  # melted into a rectangle
        ([("square", 2, 8), ("pentagon", 2, 16), ("triangle", 2, 2)], False, False, False),  # touching across borders
    ],
)
def test_impossible_pictures_are_named(parts, twice, misplaced, broken):
    found = shapes.count(picture(*parts))
    assert (found.twice, found.misplaced, found.broken) == (twice, misplaced, broken)
    assert bool(found.possible) == (not (twice or misplaced or broken))
    assert shapes.count(torch.zeros(1, 1, 16, 24)).blank


@pytest.mark.parametrize("size", [16, 64])
def test_a_shape_with_a_few_wrong_pixels_is_still_that_shape_and_one_of_another_kind_is_not(size):
    clean = load("shapes", size=size, n=300).x
    few = int(shapes.tolerance(size)) // 2
    rng = torch.Generator().manual_seed(0)
    spoilt = clean.clone().flatten(1)
    for row in spoilt:  # holes in the inside, so that no component falls apart
        on = row.nonzero()[:, 0]
        row[on[torch.randint(len(on), (few,), generator=rng)]] = 0
    same = shapes.count(spoilt.view_as(clean), size)
    assert float(same.possible.double().mean()) > 0.9
    whole = same.possible
    assert torch.equal(same.shapes[whole], shapes.count(clean, size).shapes[whole])


def test_pictures_do_not_depend_on_their_batch_and_grey_is_cut_at_one_half():
    x = load("shapes", n=60).x
    together = shapes.count(x)
    alone = [shapes.count(one[None]) for one in x]
    assert torch.equal(together.shapes, torch.cat([one.shapes for one in alone]))
    grey = shapes.count(x.float() / 255 * 0.4 + 0.2)  # 0.2 and 0.6
    assert torch.equal(grey.shapes, together.shapes)


# --- the ideal denoiser ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 3.0, 30.0])
def test_the_ideal_denoiser_is_the_mixture_of_all_pictures(support, sigma):
    x, weight = support
    means = x.double() / 255 * 1.4 - 0.3
    noisy = means[::9000] + sigma * torch.randn(5, 1, 16, 24, dtype=F64, generator=torch.Generator().manual_seed(1))
    ideal = shapes.Ideal(16, low=-0.3, high=1.1)
    torch.testing.assert_close(ideal(noisy, sigma), Mixture(means, 0, weight)(noisy, sigma), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 100.0])
def test_the_ideal_denoiser_is_finite_on_a_blank_picture_and_never_gives_one(size, sigma):
    found = shapes.Ideal(size)(-torch.ones(2, 1, *shapes.canvas(size)[:2]), torch.tensor([sigma, 2 * sigma]))
    assert found.isfinite().all()
    assert (found + 1).sum((1, 2, 3)).min() > 10  # the smallest shape nearby has a dozen pixels or more


@pytest.mark.parametrize("size", [16, 64])
def test_the_ideal_denoiser_keeps_the_data_and_its_samples_are_possible(size):
    x = load("shapes", size=size, n=20).x.float() / 127.5 - 1
    torch.testing.assert_close(shapes.Ideal(size)(x, 0.05), x)
    start = 40 * torch.randn(40, 1, *x.shape[2:], generator=torch.Generator().manual_seed(0))
    made = last(sample(shapes.Ideal(size), start, noise.karras(20, 0.05, 40), euler))
    assert shapes.count(made / 2 + 0.5, size).possible.all()
