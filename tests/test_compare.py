"""compare: what every variant does to every seed alike is an effect, what a seed does to all variants is none."""

import math
import random

import pytest
from scipy.stats import ttest_rel

from canvaslab.lab import compare

SEEDS = range(5)


def run(shift, seed):
    rng = random.Random(f"{seed} {shift}")
    return 100 * seed + shift + rng.gauss(0, 0.1)  # seeds differ by far more than variants


def test_pairing_finds_an_effect_that_the_spread_of_seeds_would_hide():
    table = compare(run, {"none": 0.0, "one": 1.0}, SEEDS)
    assert abs(table.loc["one", "effect"] - 1) < table.loc["one", "effect +- 95 %"] < 0.5
    assert table.loc["one", "+- 95 %"] > 100 and list(table["differs"]) == ["baseline", "yes"]


def test_the_interval_excludes_zero_exactly_when_the_paired_t_test_says_so():
    for shift in (0.0, 0.05, 0.1, 0.2, 0.5):
        table = compare(run, {"none": 0.0, "some": shift + 1e-9}, SEEDS)
        values = table.attrs["values"]
        p = ttest_rel(list(values["some"].values()), list(values["none"].values())).pvalue
        assert (table.loc["some", "differs"] == "yes") == (p < 0.05)


def test_diverged_runs_and_single_seeds_are_refused():
    with pytest.raises(ValueError, match=r"run\('b', 0\) gave nan"):
        compare(lambda v, seed: v, {"a": 1.0, "b": math.nan}, SEEDS)
    for variants, seeds in (({"a": 1}, SEEDS), ({"a": 1, "b": 2}, [0, 0])):
        with pytest.raises(ValueError, match="two or more"):
            compare(run, variants, seeds)
