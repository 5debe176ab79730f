"""Claims: a measured number held against a bound, beside a control that must miss that bound."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from . import tiers
from .display import publish
from .papers import PAPERS
from .papers import paper as find_paper

MIMETYPE = "application/vnd.canvaslab.claim+json"


class ClaimFailed(AssertionError):
    """The measured value missed its bound, or a control met it."""


@dataclass(frozen=True)
class Value:
    """A number, or the mean over seeds with its 95 % t-interval (None for fewer than two seeds)."""

    mean: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]

    def text(self, unit: str = "") -> str:
        """For example "0.931 ± 0.012 (5 seeds)"."""
        unit = f" {unit}" if unit else ""
        if self.interval is None:
            return f"{number(self.mean)}{unit}"
        half = (self.interval[1] - self.interval[0]) / 2
        return f"{number(self.mean)} ± {half:.2g}{unit} ({len(self.values)} seeds)"


@dataclass(frozen=True)
class Bound:
    """`kind` is at_least, at_most or between; `limits` the lowest and highest accepted value."""

    kind: str
    limits: tuple[float, ...]

    def met(self, x: float) -> bool:
        if self.kind == "between":
            return self.limits[0] <= x <= self.limits[1]
        return x >= self.limits[0] if self.kind == "at_least" else x <= self.limits[0]

    def text(self, unit: str = "") -> str:
        words = {"at_least": "at least", "at_most": "at most", "between": "between"}[self.kind]
        return f"{words} {' and '.join(f'{x:.6g}' for x in self.limits)}" + (f" {unit}" if unit else "")


def claim(
    text: str,
    measured: float | Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    between: tuple[float, float] | None = None,
    control: tuple[str, float | Sequence[float]] | list | None = None,
    paper: str | None = None,
    headline: str | None = None,
    from_tier: str = "smoke",
    unit: str = "",
) -> None:
    """Hold `measured` against one bound, and check that each control misses that bound.

    measured, and each control's value: a finite number, or one number per seed (their mean counts, and its 95 %
    t-interval is shown). control: `(name, value)` or a list of such. paper: an id of `canvaslab.lab.papers`;
    headline: what that paper reports, in its own units. from_tier: the smallest tier at which the claim is expected
    to show; below it the numbers are shown as NOT TESTED.

    Shows one line and returns None. ClaimFailed (an AssertionError) if the bound is missed or a control meets it;
    ValueError or TypeError if the claim could not fail or cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("claim needs its text first: one sentence that can be true or false")
    if from_tier not in tiers.TIERS:
        raise ValueError(f"from_tier={from_tier!r} is not a tier; it can be {', '.join(tiers.TIERS)}")
    if headline is not None and paper is None:
        raise ValueError("headline= is what a paper reports: say which with paper=")
    if paper is not None:
        find_paper(paper)
    bound = _bound(at_least=at_least, at_most=at_most, between=between)
    value, controls = _value("measured", measured), _controls(control)
    now = tiers.current()
    record = {
        "claim": text.strip(), "paper": paper, "headline": headline, "unit": unit, "tier": now, "from_tier": from_tier,
        "measured": asdict(value), "bound": asdict(bound),
        "controls": [{"name": name, "meets": bound.met(v.mean), **asdict(v)} for name, v in controls],
    }  # fmt: skip
    problem = _problem(record, value, bound, controls)
    tested = tiers.TIERS.index(now) >= tiers.TIERS.index(from_tier)
    record["status"] = "NOT TESTED" if not tested else "FAIL" if problem else "PASS"
    # plain JSON data, so that what is in memory is what a notebook stores
    record = json.loads(json.dumps(record, allow_nan=False))
    publish({"text/plain": as_text(record), "text/html": as_html(record), MIMETYPE: record})
    if problem and tested:
        raise ClaimFailed(problem)


def _problem(record: dict, value: Value, bound: Bound, controls: list[tuple[str, Value]]) -> str:
    """Why the claim fails, with the numbers; "" if it holds."""
    unit, faults = record["unit"], []
    if not bound.met(value.mean):
        faults.append(f"measured {value.mean:.6g} is not {bound.text(unit)}")
    faults += [
        f"the control {name!r} is {v.mean:.6g}, which also is {bound.text(unit)}: the claim shows nothing"
        for name, v in controls
        if bound.met(v.mean)
    ]
    shown = "; ".join([f"measured {value.text(unit)}", *(f"control {name}: {v.text(unit)}" for name, v in controls)])
    return f"{record['claim']}: {'; '.join(faults)} ({shown})" if faults else ""


def _bound(**given: Any) -> Bound:
    chosen = {kind: limit for kind, limit in given.items() if limit is not None}
    if len(chosen) != 1:
        said = ", ".join(chosen) or "none"
        raise ValueError(f"claim needs exactly one bound, at_least=, at_most= or between=(low, high); given: {said}")
    ((kind, limit),) = chosen.items()
    if kind == "between" and not (isinstance(limit, Sequence) and not isinstance(limit, str) and len(limit) == 2):
        raise TypeError(f"between must be a pair (low, high), not {limit!r}")
    limits = tuple(_number(kind, x) for x in (limit if kind == "between" else (limit,)))
    if kind == "between" and limits[0] >= limits[1]:
        raise ValueError(f"between={limits} accepts nothing: the first limit must be below the second")
    return Bound(kind, limits)


def _controls(given: Any) -> list[tuple[str, Value]]:
    if given is None or (isinstance(given, list) and not given):
        raise ValueError("claim needs control=(name, value): what the same measurement gives where the claim is false")
    pairs = given if isinstance(given, list) else [given]
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[0].strip()):
            raise TypeError(f"control must be (name, value) or a list of such, with name a text; given {pair!r}")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"two controls have the same name: {', '.join(names)}")
    return [(name, _value(f"control {name!r}", value)) for name, value in pairs]


def _value(what: str, given: Any) -> Value:
    """One number or one per seed, as a Value; torch tensors and numpy arrays of up to one dimension are welcome."""
    if hasattr(given, "tolist"):
        given = given.tolist()
    many = isinstance(given, Sequence) and not isinstance(given, str)
    values = tuple(_number(what, x) for x in (given if many else [given]))
    if not values:
        raise ValueError(f"{what} is empty; give a number, or one number per seed")
    from .metrics import interval

    mean, half = interval(values)
    return Value(mean, (mean - half, mean + half) if len(values) > 1 else None, values)


def _number(what: str, x: Any) -> float:
    if hasattr(x, "item") and getattr(x, "ndim", 1) == 0:
        x = x.item()
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise TypeError(f"{what} must be a number or a flat list of numbers, one per seed; it holds {x!r}")
    if not math.isfinite(x):
        raise ValueError(f"{what} holds {x}: give a finite number (a run that diverged counts as a rate of failures)")
    return float(x)


def number(x: float) -> str:
    """Four significant digits, without an exponent where that stays short."""
    return f"{x:.4g}"


def _parts(record: dict) -> dict[str, str]:
    """The pieces of the shown line, made from the machine-readable record so that the two cannot differ."""
    unit = record["unit"]
    source = record["paper"] and (PAPERS[record["paper"]].citation if record["paper"] in PAPERS else record["paper"])
    where = f"{record['tier']} tier"
    if record["status"] == "NOT TESTED":
        where = f"not tested at {record['tier']}, from {record['from_tier']} on"
    return {
        "measured": _read(record["measured"]).text(unit),
        "bound": Bound(record["bound"]["kind"], tuple(record["bound"]["limits"])).text(unit),
        "control": "; ".join(f"{c['name']} {_read(c).text(unit)}" for c in record["controls"]),
        "paper": (f"{source}: {record['headline']}" if record["headline"] else source) if source else "",
        "where": where,
    }


def _read(stored: dict) -> Value:
    interval = stored["interval"]
    return Value(stored["mean"], tuple(interval) if interval else None, tuple(stored["values"]))


def as_text(record: dict) -> str:
    """One line: status, claim, measured with interval, bound, controls, the paper's headline."""
    p = _parts(record)
    line = f"{record['status']}: {record['claim']}. Measured {p['measured']}, wanted {p['bound']}; "
    line += f"control that must miss it: {p['control']}"
    return line + (f"; paper: {p['paper']}" if p["paper"] else "") + f" ({p['where']})"


def as_html(record: dict) -> str:
    """The same line for notebooks: the status is a word, not a colour."""
    p = {key: escape(text) for key, text in _parts(record).items()}
    last = f" &middot; paper: {p['paper']}" if p["paper"] else ""
    return (
        '<div style="border-left:4px solid currentColor;padding:.2em .8em;margin:.3em 0">'
        f"<strong>{record['status']}</strong> {escape(record['claim'])}: <strong>{p['measured']}</strong>, "
        f"wanted {p['bound']}<br><small>control that must miss it: {p['control']}{last} &middot; {p['where']}</small>"
        "</div>"
    )


COLUMNS = (
    "notebook", "paper", "claim", "headline", "measured", "interval", "bound", "control", "status", "tier", "device",
    "seconds",
)  # fmt: skip


def records(nb: Any) -> list[dict]:
    """The machine-readable claims in a notebook's outputs, in order; two with the same text are a ValueError."""
    found = [
        output["data"][MIMETYPE]
        for cell in nb["cells"]
        for output in cell.get("outputs", [])
        if MIMETYPE in output.get("data", {})
    ]
    texts = [record["claim"] for record in found]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ValueError(f"two claims have the same text, so their numbers cannot be told apart: {twice[0]!r}")
    return found


def collect(folder: str | Path) -> Any:
    """All claims of the committed notebooks in `folder`, one row each, as a pandas DataFrame with `COLUMNS`.

    measured is the mean, interval its 95 % interval or None, seconds the CPU seconds of the whole notebook. status is
    STALE where a notebook's outputs do not belong to its code. FileNotFoundError or ValueError, with the notebook's
    name, if the folder or a claim cannot be read.
    """
    import nbformat
    import pandas as pd

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give the folder that holds the notebooks")
    rows = []
    for path in sorted(folder.glob("*.ipynb")):
        try:
            rows += _rows(path, nbformat.read(path, as_version=4))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: its claims cannot be read ({error!r}); run the notebook again") from error
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(path: Path, nb: Any) -> list[dict]:
    from .stamp import check, read

    stale, stamp = check(nb), read(nb)
    rows = []
    for record in records(nb):
        p = _parts(record)
        interval = record["measured"]["interval"]
        rows.append({
            "notebook": path.stem, "paper": record["paper"], "claim": record["claim"], "headline": record["headline"],
            "measured": record["measured"]["mean"], "interval": tuple(interval) if interval else None,
            "bound": p["bound"], "control": p["control"], "status": "STALE" if stale else record["status"],
            "tier": record["tier"], "device": stamp.get("device"), "seconds": stamp.get("cpu_seconds"),
        })  # fmt: skip
    return rows
