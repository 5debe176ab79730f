"""A live line (loss, rate, time left) and a live figure, for notebooks and terminals."""
import base64
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .display import in_notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REDRAW = 0.25  # seconds: a faster line costs training time and cannot be read


class Place:
    """One output of a notebook cell, updated in place."""
    def __init__(self):
        self.handle = None

    def show(self, bundle: dict, metadata: dict | None = None) -> None:
        from IPython.display import display
        if self.handle is None:
            self.handle = display(bundle, metadata=metadata, raw=True, display_id=True)
        else:
            self.handle.update(bundle, metadata=metadata, raw=True)


def picture(figure: "Figure", alt: str) -> tuple[dict, dict]:
    """A figure as a PNG bundle and its metadata, for `Place.show`; closes it, or a copy would appear below the cell."""
    from matplotlib import pyplot

    from .plots import png
    data = base64.b64encode(png(figure, small=True)).decode()
    pyplot.close(figure)
    return {"image/png": data, "text/plain": f"[figure: {alt}]"}, {"alt": alt, "image/png": {"alt": alt}}


class Progress:
    """Counts steps; redraws at most four times a second, and reads the loss from the device only then.

    total, start: steps in all and done before; on: whether to draw. In a notebook the line is one output updated in
    place, in a terminal a plain tqdm bar; without a terminal, or with CI in the environment, nothing is drawn.
    watch: ``watch(n) -> Figure or None``, called every ``watch_every`` seconds and once at the end, in notebooks.
    Errors: FloatingPointError at a redraw or at the end if any loss since the start was not finite.
    """
    def __init__(self, total: int, start: int = 0, on: bool = True,
                 watch: Callable[[int], "Figure | None"] | None = None, watch_every: float = 5.0):
        self.total, self.start, self.n = total, start, start
        self.began = self.drawn = self.watched = time.monotonic()
        self.notebook = on and in_notebook()
        self.line, self.figure = Place(), Place()
        self.watch, self.watch_every = watch if self.notebook else None, watch_every
        self.smooth: Tensor | None = None
        self.bar = None
        if on and not self.notebook and sys.stderr.isatty() and not os.environ.get("CI"):
            from tqdm import tqdm
            self.bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True)

    def update(self, n: int, loss: Tensor) -> None:
        """Note step n and its loss () on any device; draw if it is time."""
        self.n = n
        if self.smooth is None:
            self.smooth = loss.detach().clone().float()
        else:  # a mean over the last 50 or so; once not finite, it stays so
            self.smooth.lerp_(loss.float(), max(0.02, 1 / (n - self.start)))
        now = time.monotonic()
        if now - self.drawn >= REDRAW:
            self.draw()
        if self.watch and now - self.watched >= self.watch_every:
            self.look()

    def check(self) -> float:
        """The smoothed loss; FloatingPointError if it is not finite."""
        value = self.smooth.item()
        if not torch.isfinite(torch.tensor(value)):
            raise FloatingPointError(f"the loss stopped being finite at or before step {self.n} of {self.total}: "
                                     "use a smaller learning rate, clip=1.0, or look for bad values in the data")
        return value

    def draw(self) -> None:
        """Draw the line now."""
        value, self.drawn = self.check(), time.monotonic()
        if self.notebook:
            from tqdm import tqdm
            text = tqdm.format_meter(self.n, self.total, self.drawn - self.began, initial=self.start, unit="step",
                                     ncols=96, postfix=f"loss {value:.4g}")
            self.line.show({"text/plain": text})
        elif self.bar is not None:
            self.bar.set_postfix_str(f"loss {value:.4g}", refresh=False)
            self.bar.update(self.n - self.bar.n)

    def look(self) -> None:
        """Show what ``watch`` draws now."""
        figure = self.watch(self.n)
        if figure is not None:
            title = figure.get_suptitle() or next((a.get_title() for a in figure.axes if a.get_title()), "live picture")
            self.figure.show(*picture(figure, f"{title}, at step {self.n} of {self.total}"))
        self.watched = time.monotonic()  # after the drawing: a slow figure must not eat the training

    def finish(self) -> None:
        """Draw the last state."""
        if self.smooth is not None:
            self.draw()
            if self.watch:
                self.look()

    def close(self) -> None:
        """Leave the line as it is."""
        if self.bar is not None:
            self.bar.close()
