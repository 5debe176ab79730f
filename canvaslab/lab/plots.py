"""One style for every figure of the course. Each function draws on an axes that you give, so they compose.

    fig, (left, right) = figure(1, 2)
    density(left, mixture_points)
    losses(right, steps)
    label(left, "two modes appear", "x (data units)", "y (data units)")
    show(fig, alt="Density of samples with two modes; the loss falls from 1 to 0.2.")

The colours are Okabe and Ito's, readable with every kind of colour vision; a colour means the same in every notebook.
Nothing here touches matplotlib's global settings, and no window is needed.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .display import publish_png, smaller
from .stage import scale
from .ticks import Between, Plain

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK, YELLOW)
TRUTH, OURS, BASELINE, CONTROL = BLACK, BLUE, ORANGE, VERMILLION
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL, DIVERGING = "viridis", "PuOr"
DPI = 100

STYLE = {
    "font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13, "xtick.labelsize": 12, "ytick.labelsize": 12,
    "legend.fontsize": 12, "legend.frameon": False, "lines.linewidth": 2.2, "lines.markersize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.grid": False,
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white", "image.cmap": SEQUENTIAL,
    "axes.prop_cycle": mpl.cycler(color=PALETTE), "image.interpolation": "nearest",
}  # fmt: skip


@contextmanager
def style():
    """The course's matplotlib settings inside a `with`; outside everything is as it was."""
    sized = {key: value * scale() for key, value in STYLE.items() if key.endswith(("size", "linewidth"))}
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, **sized, "backend": mpl.rcParams["backend"]}):
        yield


def styled(draw: Callable) -> Callable:
    """Make a drawing function use the course's style."""
    @wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with style():
            return draw(*args, **kwargs)

    return inside


@styled
def figure(rows: int = 1, cols: int = 1, size: tuple[float, float] | None = None) -> tuple[Figure, Any]:
    """A new figure and its axes: one Axes, or an array (cols,), (rows,) or (rows, cols) of them.

    size: (width, height) in inches at 100 dots an inch; by default each axes gets 5 x 4, the whole at most 12 wide.
    """
    fig = Figure(figsize=size or (min(5 * cols, 12), 4 * rows), layout="constrained")
    return fig, fig.subplots(rows, cols)


@styled
def label(ax: Axes, title: str = "", x: str = "", y: str = "", legend: bool = False) -> None:
    """Title (the finding), axis names with units, and if asked a legend of what is labelled on `ax`."""
    ax.set(title=title, xlabel=x, ylabel=y)
    if legend:
        ax.legend()


@styled
def logarithmic(ax: Axes, x: bool | Sequence[float] = False, y: bool | Sequence[float] = False) -> None:
    """Logarithmic axes whose ticks read 0.1, 1, 10; only an axis that leaves 0.001 to 100,000 has powers of ten.

    x, y: True for a tick at each decade, and between them where few are in view; a list for ticks at these numbers;
    False to leave that axis as it is.
    """
    for name, axis, ticks in (("xscale", ax.xaxis, x), ("yscale", ax.yaxis, y)):
        if ticks is not False:
            ax.set(**{name: "log"})
            if ticks is not True:
                axis.set_ticks(list(ticks))
                axis.set_ticks([], minor=True)
            axis.set_major_formatter(Plain())
            axis.set_minor_formatter(Between())


@styled
def png(fig: Figure, small: bool = False) -> bytes:
    """The figure as PNG bytes at 100 dots an inch. small=True spends 50 ms to make the file three times smaller."""
    raw = BytesIO()
    fig.savefig(raw, format="png", dpi=DPI, metadata={"Software": None})
    return smaller(raw) if small else raw.getvalue()


def show(fig: Figure, *, alt: str) -> None:
    """Show a figure as a PNG with a text alternative, then let go of it.

    alt: what a reader who cannot see the figure should know of it, in a sentence. It is stored in the output's
    metadata, where nbconvert and this library's exports find it. ValueError if it is missing.
    """
    publish_png(png(fig, small=True), alt)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:  # only a figure made there is registered anywhere
        pyplot.close(fig)


@styled
def images(
    ax: Axes, x: Any, columns: int = 8, *, values: tuple[float, float] | str, titles: Sequence[str] = (),
    rows: Sequence[str] = (), gap: int = 1,
) -> None:  # fmt: skip
    """A grid of images on one axes, filled row by row.

    x: (N, C, H, W) with C = 1 or 3, or (N, H, W). values: the range that becomes black to white, (0, 1), (-1, 1) or
    "uint8"; what lies outside is clipped. titles: one text a column. rows: one text a row. gap: pixels between.
    """
    from einops import rearrange

    x = array(x)
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x):
        raise ValueError(f"images wants (N, C, H, W) with C = 1 or 3, or (N, H, W), not {x.shape}")
    if (values == "uint8") != (x.dtype == np.uint8):
        raise ValueError(f"images of dtype {x.dtype} do not go with values={values!r}: uint8 is for bytes only")
    low, high = (0, 255) if values == "uint8" else values
    x = np.clip((x - float(low)) / (float(high) - float(low)), 0, 1)
    columns = min(columns, len(x))
    lines = -(-len(x) // columns)
    tiles = np.ones((lines * columns, x.shape[1], x.shape[2] + gap, x.shape[3] + gap), np.float32)
    tiles[: len(x), :, : x.shape[2], : x.shape[3]] = x
    _grid_labels(ax, titles, rows, columns, lines, x.shape[2] + gap, x.shape[3] + gap)
    grid = rearrange(tiles, "(r k) c h w -> (r h) (k w) c", r=lines)[: -gap or None, : -gap or None]
    ax.imshow(grid.squeeze(-1) if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=1)


def _grid_labels(ax: Axes, titles: Sequence, rows: Sequence, columns: int, lines: int, high: int, wide: int) -> None:
    for what, texts, places in (("titles", titles, columns), ("rows", rows, lines)):
        if len(texts) not in (0, places):
            raise ValueError(f"{what} has {len(texts)} texts for a grid of {lines} rows and {columns} columns")
    ax.xaxis.tick_top()
    ax.set_xticks([(i + 0.5) * wide - 0.5 for i in range(len(titles))], titles)
    ax.set_yticks([(i + 0.5) * high - 0.5 for i in range(len(rows))], rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


@styled
def points(ax: Axes, x: Any, colour: str = OURS, label: str | None = None, size: float = 8) -> None:
    """2-D points (N, 2) on axes of equal scale; many points become transparent."""
    x = _planar("points", x)
    alpha = float(np.clip(500 / max(len(x), 1), 0.25, 0.9))
    ax.scatter(*x.T, s=size, color=colour, label=label, linewidths=0, alpha=alpha)
    _equal(ax)


@styled
def arrows(ax: Axes, x: Any, vectors: Any, colour: str = BLACK) -> None:
    """A vector field: `vectors` (N, 2) at `x` (N, 2), lengths scaled together."""
    x, vectors = _planar("arrows", x), _planar("arrows", vectors)
    ax.quiver(*x.T, *vectors.T, color=colour, width=0.004)
    _equal(ax)


@styled
def trajectories(ax: Axes, paths: Any, times: Any = None, colour: str = OURS, alpha: float = 0.5) -> None:
    """Paths of samples: (T, N, 2) in the plane, a dot at each end; or (T, N) over `times` (T,), by default 0 to T-1."""
    paths = array(paths)
    if paths.ndim == 3 and paths.shape[-1] == 2:
        lines, ends = paths.transpose(1, 0, 2), paths[-1]
        _equal(ax)
    elif paths.ndim == 2:
        times = np.arange(len(paths)) if times is None else array(times)
        if times.shape != (len(paths),):
            raise ValueError(f"times has shape {times.shape} for {len(paths)} points of each path")
        lines = np.stack([np.broadcast_to(times[:, None], paths.shape), paths], -1).transpose(1, 0, 2)
        ends = lines[:, -1]
    else:
        raise ValueError(f"trajectories wants (T, N, 2) or (T, N), not {paths.shape}")
    ax.add_collection(LineCollection(list(lines), colors=colour, alpha=alpha, linewidths=1))
    ax.scatter(*ends.T, s=10, color=colour, linewidths=0, zorder=3)
    ax.autoscale_view()


@styled
def density(
    ax: Axes, what: Any, extent: tuple[float, float, float, float] = (-3, 3, -3, 3), bins: int = 120,
    cmap: str = SEQUENTIAL,
) -> None:  # fmt: skip
    """A density in the plane as an image: of points (N, 2), or of a function from (M, 2) points to (M,) densities.

    extent: (left, right, bottom, top) in data units. bins: cells along each side. The unit is probability per area.
    """
    left, right, bottom, top = extent
    if callable(what):
        import torch

        xs, ys = ((np.arange(bins) + 0.5) / bins * (b - a) + a for a, b in ((left, right), (bottom, top)))
        grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
        values = array(what(torch.from_numpy(grid).to(torch.get_default_dtype()))).reshape(bins, bins)
    else:
        x = _planar("density", what)
        counts, _, _ = np.histogram2d(*x.T, bins=bins, range=((left, right), (bottom, top)))
        values = counts.T / max(len(x), 1) / ((right - left) * (top - bottom) / bins**2)
    ax.imshow(values, origin="lower", extent=extent, cmap=cmap, vmin=0, aspect="equal")


@styled
def histogram(ax: Axes, x: Any, bins: Any = 60, colour: str = OURS, label: str | None = None) -> None:
    """Histogram of numbers of any shape, as a density (area 1), so that it compares with a density curve."""
    ax.hist(array(x).ravel(), bins=bins, density=True, color=colour, alpha=0.55, label=label)


@styled
def losses(ax: Axes, steps: Iterable, colour: str = OURS, label: str | None = None, window: int = 50) -> None:
    """Training loss over steps, logarithmic: each step faintly, the running mean of `window` steps boldly.

    steps: numbers, or objects with `.n` and `.loss` as `lab.train` yields them.
    """
    steps = list(steps)
    n = np.array([getattr(s, "n", i) for i, s in enumerate(steps, start=1)])
    loss = np.array([float(getattr(s, "loss", s)) for s in steps])
    window = max(1, min(window, len(loss) // 4))
    ax.plot(n, loss, color=colour, alpha=0.25, linewidth=1)
    ax.plot(n[window - 1 :], np.convolve(loss, np.ones(window) / window, "valid"), color=colour, label=label)
    logarithmic(ax, y=True)


@styled
def intervals(ax: Axes, x: Any, runs: Any, colour: str = OURS, label: str | None = None, marker: str = "o") -> None:
    """Mean over seeds and how far they spread. x: (K,); runs: (seeds, K).

    From five seeds on a band shows the 95 % t-interval; fewer are drawn one by one, as thin lines. On a vertical axis
    that is logarithmic already, mean and interval are those of the logarithm.
    """
    from .metrics import interval

    x, runs = array(x), array(runs)
    if runs.ndim != 2 or x.shape != runs.shape[1:]:
        raise ValueError(f"intervals wants x (K,) and runs (seeds, K), not {x.shape} and {runs.shape}")
    log = ax.get_yscale() == "log" and (runs > 0).all()
    mean, half = np.array([interval(column) for column in (np.log(runs) if log else runs).T]).T
    middle, low, high = (np.exp(v) if log else v for v in (mean, mean - half, mean + half))
    ax.plot(x, middle, color=colour, label=label, marker=marker)
    if len(runs) >= 5:
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    elif len(runs) > 1:
        ax.plot(x, runs.T, color=colour, alpha=0.5, linewidth=0.8)


def array(x: Any) -> np.ndarray:
    """A numpy array of a tensor on any device, of an array or of a list."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if x.is_floating_point() and x.element_size() == 2 else x  # numpy has no bfloat16
    return np.asarray(x)


def _equal(ax: Axes) -> None:
    """One unit is as long across as up, unless an image on the axes has settled that."""
    if not ax.images:
        ax.set_aspect("equal", adjustable="datalim")


def _planar(who: str, x: Any) -> np.ndarray:
    x = array(x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"{who} wants points in the plane, (N, 2), not {x.shape}")
    return x
