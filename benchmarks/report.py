"""Ratios with their spread, as a markdown page and on the terminal."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.sampling import STEPS


class Ratio(NamedTuple):
    """Geometric mean over seeds of a ratio paired by seed, and the lowest and the highest; above 1 favours us."""
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(larger: Sequence[float], smaller: Sequence[float]) -> Ratio:
    """``larger / smaller``, seed by seed. Errors: ValueError for lists of other lengths, or values not above 0."""
    if len(larger) != len(smaller) or not larger or not all(v > 0 for v in (*larger, *smaller)):
        raise ValueError(f"{list(larger)} over {list(smaller)} was asked for; accepted: equally many positive numbers")
    each = [a / b for a, b in zip(larger, smaller, strict=True)]
    return Ratio(math.exp(sum(map(math.log, each)) / len(each)), min(each), max(each))


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def span(values: Sequence[float], digits: int = 3) -> str:
    """Mean (lowest to highest)."""
    return f"{sum(values) / len(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def training(part: dict) -> str:
    arms, blurred = part["arms"], part["blurred"]
    mine, rows = arms["canvaslab"], []
    for name, arm in arms.items():
        known = max(arm["distance"]) < blurred
        speed = far = "-"
        if arm is not mine:
            speed = ratio(mine["images/s"], arm["images/s"])
            far = f"{ratio(arm['distance'], mine['distance'])}{'' if known else ', peer not yet recognisable'}"
        agreement = span(arm["agreement"], 2) if arm["guided"] else "no labels"
        rows.append([name, f"{arm['parameters'][0]:,}", span(arm["images/s"]), speed, span(arm["distance"]), far,
                     agreement])
    said = "".join(f"\n* {name}: {sentence}" for name, sentence in part["missing"].items())
    return (f"## Training: {part['budget']:g} CPU seconds for each, {len(part['seeds'])} seeds, {part['n']} samples\n\n"
            + table(["arm", "parameters", "images/s", "ours over theirs", "distance / floor", "theirs over ours",
                     "class agreement"], rows)
            + f"\n\nDistance: Frechet in features, over its floor of {part['floor']:.3g} (real images, same number). "
              "An arm is *not yet recognisable* when a seed of it is farther from the data than real images blurred "
              f"over 3 x 3 pixels, at {blurred:.3g} floors.{said}\n")


def sampling(part: dict) -> str:
    runs = part["solvers"]
    ms = {name: sum(run["ms"]) / len(run["ms"]) for name, run in runs.items()}
    order = sorted((name for name in runs if math.isfinite(ms[name])), key=ms.get)
    best = next(name for name in order if name.startswith("canvaslab"))
    rows = [[name, span(runs[name]["evaluations"]), span(runs[name]["ms"]),
             "-" if name == best else ratio(runs[name]["ms"], runs[best]["ms"])] for name in order]
    theirs = next(name for name in order if name.startswith("diffusers"))
    against = ratio(runs[theirs]["ms"], runs[best]["ms"])
    never = ", ".join(name for name in runs if name not in order)
    return (f"## Sampling: until the error is {part['error']:g} grey values (of 1), {len(part['seeds'])} seeds\n\n"
            + table(["solver", "evaluations", "CPU ms an image", "time over our best"], rows)
            + f"\n\n**Best of theirs over best of ours, in time: {against}.** "
              "Notebook 04's trained net, 20 images at once; median over images of the RMS difference to the exact "
              "solution from the same noise, interpolated on log axes. "
              f"Not there in {max(STEPS)} steps: {never or 'none'}.\n")


def imports(part: dict) -> str:
    found = part["seconds"]
    pairs = [("import diffusers", "import canvaslab"), ("import torch", "import canvaslab"),
             ("diffusers, to train and sample", "canvaslab, to train and sample")]
    return (f"## Import: CPU seconds of a fresh interpreter, {len(next(iter(found.values())))} repeats\n\n"
            + table(["what", "seconds"], [[name, span(values, 2)] for name, values in found.items()]) + "\n\n"
            + table(["ratio", ""], [[f"{a} over {b}", ratio(found[a], found[b])] for a, b in pairs]) + "\n")


def page(results: dict) -> str:
    """The whole of benchmarks/README.md from results.json."""
    parts = [f"{PARTS[name](part)}\n*{part['device']}, one thread, {part['versions']}, {part['date']}.*\n"
             for name, part in results.items()]
    return ABOUT + "\n" + "\n".join(parts) + "\n" + SETTINGS


PARTS = {"training": training, "sampling": sampling, "imports": imports}
ABOUT, SETTINGS = (Path(__file__).parent / "method.md").read_text().split("<!-- tables -->\n")
