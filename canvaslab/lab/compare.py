"""Check a hypothesis in one cell: variants x seeds, the effect of each against the first, with its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .metrics import interval
from .shipped import shipped


def compare(
    run: Callable[[Any, int], float],
    variants: Mapping[str, Any],
    seeds: Sequence[int],
    name: str = "value",
    ship: str | None = None,
):
    """Call ``run(variant, seed)`` for every variant and seed; a table with one row a variant.

    run: returns one number. variants: name -> whatever ``run`` takes; the first is the baseline. seeds: two or more.
    ship: name of a small result that ships, for the stage: see `shipped`; other code, variants or seeds are run.
    Returns a DataFrame, indexed by variant, with the mean, its 95 % half-width, the difference to the baseline
    paired by seed, that difference's 95 % half-width, and whether the interval excludes 0. ``.attrs["values"]``
    holds the single numbers. Pairing by seed removes what a seed does to all variants alike. Intervals are not
    corrected for looking at several variants. Errors: ValueError when a run does not give a finite number.
    """
    import pandas as pd

    if len(variants) < 2 or len(set(seeds)) < 2:
        raise ValueError(f"compare needs two or more variants and seeds, got {list(variants)} and {list(seeds)}")

    def make():
        return {key: [_finite(run(v, seed), key, seed) for seed in seeds] for key, v in variants.items()}

    values = make() if ship is None else shipped(ship, make, depends=(run, dict(variants), list(seeds)))
    values = pd.DataFrame(values, index=seeds)
    baseline = values.iloc[:, 0]
    rows = []
    for key in variants:
        mean, half = interval(values[key].tolist())
        effect, effect_half = interval((values[key] - baseline).tolist())
        rows.append((key, mean, half, effect, effect_half, "yes" if abs(effect) > effect_half else "no"))
    columns = ["variant", name, "+- 95 %", "effect", "effect +- 95 %", "differs"]
    table = pd.DataFrame(rows, columns=columns).set_index("variant")
    table.iloc[0, 2:] = [float("nan"), float("nan"), "baseline"]
    table.attrs["values"] = values.to_dict()
    return table


def _finite(value: Any, variant: str, seed: int) -> float:
    if not math.isfinite(float(value)):
        raise ValueError(f"run({variant!r}, {seed}) gave {float(value)}; compare needs finite numbers")
    return float(value)
