"""The one list of data sets: ``names()`` says what there is, ``load(name)`` gives it."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

from . import hub, images
from . import points as sets
from . import shapes as drawn
from .dataset import Dataset


class Entry(NamedTuple):
    """One line on a data set, its splits, what loads it, and the function whose keywords it accepts."""

    about: str
    splits: tuple[str, ...]
    loader: Callable[..., Dataset]
    options: tuple[str, ...]


_TWO = ("train", "test")


def _options(*functions: Callable) -> tuple[str, ...]:
    own = ("name", "split", "draw", "rng", "spec")
    found = (p for f in functions for p in inspect.signature(f).parameters.values())
    return tuple(dict.fromkeys(p.name for p in found if p.name not in own and p.kind is not p.VAR_KEYWORD))


def _point_set(about: str, draw: Callable) -> Entry:
    return Entry(about, _TWO, partial(sets.points, draw), _options(sets.points, draw))


_ENTRIES: dict[str, Entry] = {
    "two-peaks": _point_set("1-D: equal Gaussians at -1 and 1; its exact law is in .mixture", sets.two_peaks),
    "three-peaks": _point_set("1-D: Gaussians of weights .5, .3, .2; its exact law is in .mixture", sets.three_peaks),
    "moons": _point_set("2-D: two half circles", sets.moons),
    "spiral": _point_set("2-D: two arms", sets.spiral),
    "checkerboard": _point_set("2-D: eight squares with sharp edges", sets.checkerboard),
    "rings": _point_set("2-D: three circles", sets.rings),
    "grid": _point_set("2-D: 5 x 5 narrow Gaussians; its exact law is in .mixture", sets.grid),
    "circle": _point_set("2-D: eight Gaussians on a circle; its exact law is in .mixture", sets.circle),
    "shapes": Entry(
        "3 columns, each empty or with its own shape, 16 x 24 or 64 x 64; the whole support is known",
        _TWO,
        drawn.shapes,
        _options(drawn.shapes),
    ),
    "digits": Entry("1797 handwritten digits, 8 x 8 grey; comes with scikit-learn", _TWO, images.digits, ()),
    "fashion-mnist": Entry("70 000 pictures of clothes, 28 x 28 grey; ships here", _TWO, images.fashion_mnist, ()),
    **{
        name: Entry(spec.about, tuple(spec.splits), partial(hub.images, spec), _options(hub.images))
        for name, spec in hub.SPECS.items()
    },
}


def names() -> dict[str, str]:
    """Every data set that ``load`` knows, each with one line on what it is."""
    return {name: entry.about for name, entry in _ENTRIES.items()}


def load(name: str, split: str = "train", **options) -> Dataset:
    """A whole data set as tensors on the CPU, with the meaning of each axis.

    name: one of ``names()``. split: "train" or "test" (some have more; the error says which).
    options: point sets take n, seed, standardise, noise and a shape's own numbers; hub sets take size and limit.
    Raises ValueError for an unknown name, split or option, DataMissing or DataCorrupt for files.
    """
    if name not in _ENTRIES:
        near = get_close_matches(str(name).lower().replace("_", "-").replace(" ", "-"), _ENTRIES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"There is no data set {name!r}; known: {', '.join(_ENTRIES)}.{hint}")
    entry = _ENTRIES[name]
    if split not in entry.splits:
        raise ValueError(f"{name} has no split {split!r}; accepted: {', '.join(entry.splits)}")
    if unknown := [option for option in options if option not in entry.options]:
        accepted = ", ".join(entry.options) or "none"
        raise ValueError(f"{name} takes no option {', '.join(unknown)}; accepted: {accepted}")
    return entry.loader(name, split, **options)
