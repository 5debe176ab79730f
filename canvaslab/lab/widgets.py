"""One helper for every 'what if': a live widget and a static picture of the same thing, from one drawing function."""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.figure import Figure

from . import plots
from .display import in_notebook, publish_png

INTERVAL = 0.03  # seconds that changes are gathered before a redraw, so that a drag does not queue up


@dataclass(frozen=True)
class Slider:
    """A number between `lo` and `hi`. Made by `slider`."""

    lo: float
    hi: float
    step: float
    value: float
    label: str
    log: bool

    def problem(self, value: Any) -> str:
        """Why this value cannot be set; "" if it can."""
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if numeric and self.lo <= value <= self.hi else f"must be a number from {self.lo} to {self.hi}"

    def widget(self) -> Any:
        import ipywidgets

        shared = {"value": self.value, "description": self.label, "step": self.step}
        if self.log:
            return ipywidgets.FloatLogSlider(
                min=math.log10(self.lo), max=math.log10(self.hi), base=10, readout_format=".3g", **shared
            )
        whole = all(isinstance(x, int) for x in (self.lo, self.hi, self.step, self.value))
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return kind(min=self.lo, max=self.hi, **shared, **({} if whole else {"readout_format": ".3g"}))


@dataclass(frozen=True)
class Choice:
    """One of several named values. Made by `choice`."""

    options: tuple[tuple[str, Any], ...]
    value: Any
    label: str

    def problem(self, value: Any) -> str:
        """Why this value cannot be set; "" if it can."""
        known = [v for _, v in self.options]
        return "" if value in known else f"must be one of {', '.join(map(repr, known))}"

    def widget(self) -> Any:
        import ipywidgets

        return ipywidgets.Dropdown(options=list(self.options), value=self.value, description=self.label)


def slider(lo: float, hi: float, step: float, value: float, label: str = "", log: bool = False) -> Slider:
    """A slider from `lo` to `hi`, at `value` first. All whole numbers: it gives ints. log: `step` counts decades."""
    if not lo < hi or step <= 0 or (log and lo <= 0):
        raise ValueError(f"slider needs lo < hi and step > 0 (with log also lo > 0); given {lo}, {hi} and {step}")
    made = Slider(lo, hi, step, value, label, log)
    if made.problem(value):
        raise ValueError(f"slider's value {value!r} {made.problem(value)}")
    return made


def choice(options: Sequence | Mapping[str, Any], value: Any = None, label: str = "") -> Choice:
    """A menu of values, or of a mapping from text to value; `value` is first (default: the first one)."""
    pairs = tuple(options.items()) if isinstance(options, Mapping) else tuple((str(o), o) for o in options)
    if not pairs:
        raise ValueError("choice needs at least one option")
    made = Choice(pairs, pairs[0][1] if value is None else value, label)
    if made.problem(made.value):
        raise ValueError(f"choice's value {value!r} {made.problem(made.value)}")
    return made


def explore(
    draw: Callable[..., None], *, static: Sequence[Mapping[str, Any]], alt: str,
    size: tuple[float, float] = (6, 4), **controls: Any,
) -> "Explorer":  # fmt: skip
    """Show `draw` as a live widget, and as a static film strip where widgets do not run.

    draw(fig, **values): draws on a matplotlib Figure or SubFigure (`ax = fig.subplots()`); fig holds nothing before.
    static: settings of the strip, left to right; controls not named in one keep their first value. alt: what the strip
    shows, in a sentence. size: inches of one picture. controls: `name=slider(...)` or `name=choice(...)`; anything
    with `.value`, `.problem(value)` and `.widget()` serves.

    Returns an `Explorer`. ValueError if names or values do not fit; an error in `draw` is shown in the widget as text.
    """
    _check(draw, static, controls)
    return Explorer(draw, static, alt, size, controls)


def _check(draw: Callable, static: Sequence[Mapping[str, Any]], controls: Mapping[str, Any]) -> None:
    if not controls:
        raise ValueError("explore needs at least one control, for example sigma=slider(0, 2, 0.1, 1)")
    if not static:
        raise ValueError("explore needs static=[dict(...), ...]: the settings that readers without widgets see")
    first, *others = inspect.signature(draw).parameters.values()
    named = {p.name for p in others if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    needed = {p.name for p in others if p.name in named and p.default is p.empty}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in others)
    if needed - set(controls) or (set(controls) - named and not open_ended):
        raise ValueError(
            f"draw({first.name}, ...) takes {sorted(named)} but the controls are {sorted(controls)}; "
            "give each argument one control of the same name"
        )
    for setting in static:
        for name, value in setting.items():
            if name not in controls:
                raise ValueError(f"static names {name!r}, which is no control; there are {', '.join(controls)}")
            problem = controls[name].problem(value)
            if problem:
                raise ValueError(f"static has {name}={value!r}, but {name} {problem}")


class Explorer:
    """What `explore` shows. `controls[name].value = v` redraws; `.png` is the picture now, `.seconds` its cost."""

    def __init__(self, draw: Callable, static: Sequence, alt: str, size: tuple[float, float], specs: Mapping[str, Any]):
        self._draw, self._size, self._scheduled = draw, size, False
        self.values = {name: spec.value for name, spec in specs.items()}
        self.controls: dict[str, Any] = {}
        self.png, self.seconds, self.error = b"", 0.0, ""
        try:
            import ipywidgets
        except ImportError:
            print("Without ipywidgets this is a picture only; `pip install ipywidgets` makes it live.")
        else:
            self._build(ipywidgets, specs)
        publish_png(self._strip(static), alt)

    def _ipython_display_(self) -> None:
        """Everything is shown already: as the last line of a cell this adds nothing."""

    def _build(self, ipywidgets: Any, specs: Mapping[str, Any]) -> None:
        self._image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self._message = ipywidgets.HTML()
        for name, spec in specs.items():
            control = self.controls[name] = spec.widget()
            control.description = control.description or name
            control.style.description_width = "initial"
            control.observe(self._changed, names="value")
        self.redraw()
        if in_notebook():
            from IPython.display import display

            display(ipywidgets.VBox([*self.controls.values(), self._message, self._image]))

    def _changed(self, _: Any) -> None:
        """Redraw soon, once, with the values of then: changes that come meanwhile are gathered, none is queued."""
        import asyncio

        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel is running: at once
            self.redraw()
            return
        self._scheduled = True
        loop.call_later(INTERVAL, self._later)

    def _later(self) -> None:
        self._scheduled = False
        self.redraw()

    def redraw(self) -> None:
        """Draw with the controls' values of now. An error leaves the last picture and shows as text."""
        start = time.perf_counter()
        self.values = {name: control.value for name, control in self.controls.items()}
        try:
            with plots.style():
                fig = Figure(figsize=self._size, layout="constrained")
                self._draw(fig, **self.values)
            self.png, self.error = plots.png(fig), ""
        except Exception as error:  # whatever the drawing raises belongs on the screen, not in a log
            self.error = f"draw failed at {_said(self.values)}: {type(error).__name__}: {error}"
        self._image.value = self.png
        self._message.value = f"<pre>{escape(self.error)}</pre>" if self.error else ""
        self.seconds = time.perf_counter() - start

    def _strip(self, static: Sequence[Mapping[str, Any]]) -> bytes:
        first = self.values
        with plots.style():
            full = self._size[0] * len(static)
            width = min(full, 14)
            whole = Figure(figsize=(width, self._size[1] * width / full + 0.4), layout="constrained")
            for part, setting in zip(whole.subfigures(1, len(static), squeeze=False)[0], static, strict=True):
                self._draw(part, **{**first, **setting})
                part.suptitle(_said(setting))
        return plots.png(whole, small=True)


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {v:.3g}" if isinstance(v, float) else f"{name} = {v}" for name, v in values.items())
