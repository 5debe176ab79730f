"""Tiers: one table of knobs, the environment decides, everything is seeded."""

import pickle
import random

import numpy as np
import pytest
import torch

from canvaslab.lab import tiers
from canvaslab.lab.tiers import tier

TABLES = {"smoke": {"steps": 1}, "laptop": {"steps": 10}, "gpu": {"steps": 100}}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv("CANVASLAB_TIER", raising=False)
    monkeypatch.delenv("CANVASLAB_SEED", raising=False)
    monkeypatch.setattr(tiers, "_active", None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "steps"), [("smoke", 1), ("laptop", 10), ("gpu", 100)])
def test_the_environment_picks_the_tier(monkeypatch, name, steps):
    monkeypatch.setenv("CANVASLAB_TIER", name)
    T = tier(**TABLES)
    assert (T.name, T.steps, tiers.current()) == (name, steps, name)


def test_the_first_cell_can_pick_the_tier_over_the_environment(monkeypatch):
    monkeypatch.setenv("CANVASLAB_TIER", "smoke")
    T = tier(**TABLES, use="gpu")
    assert (T.name, T.steps, tiers.current()) == ("gpu", 100, "gpu")
    with pytest.raises(ValueError, match=r"use is 'huge'.*smoke, laptop, gpu"):
        tier(**TABLES, use="huge")


def test_laptop_is_the_default_also_for_an_empty_variable(monkeypatch):
    assert tiers.current() == "laptop"
    monkeypatch.setenv("CANVASLAB_TIER", "")
    assert tier(**TABLES).steps == 10


def test_unknown_tiers_and_seeds_are_named_with_what_is_accepted(monkeypatch):
    monkeypatch.setenv("CANVASLAB_TIER", "Laptop")
    with pytest.raises(ValueError, match=r"'Laptop'.*smoke, laptop, gpu"):
        tier(**TABLES)
    monkeypatch.delenv("CANVASLAB_TIER")
    for bad in ("-1", "1.5", "x", str(2**32)):
        monkeypatch.setenv("CANVASLAB_SEED", bad)
        with pytest.raises(ValueError, match="CANVASLAB_SEED"):
            tier(**TABLES)
    monkeypatch.delenv("CANVASLAB_SEED")
    with pytest.raises(ValueError, match="seed is -3"):
        tier(**TABLES, seed=-3)


def test_knobs_must_be_the_same_and_usable():
    with pytest.raises(ValueError, match=r"smoke and laptop.*size"):
        tier(**{**TABLES, "smoke": {"steps": 1, "size": 2}})
    with pytest.raises(ValueError, match=r"gpu and laptop.*steps"):
        tier(**{**TABLES, "gpu": {}})
    for name in ("seed", "device", "name", "_x", "a b"):
        with pytest.raises(ValueError, match="cannot be a knob"):
            tier(smoke={name: 1}, laptop={name: 1}, gpu={name: 1})


def test_the_same_seed_gives_the_same_numbers_everywhere_and_another_does_not(monkeypatch):
    def draw(**kw):
        tier(**TABLES, **kw)
        return random.random(), np.random.rand(), torch.rand(1).item()

    first = draw(seed=5)
    assert draw(seed=5) == first
    assert all(a != b for a, b in zip(first, draw(seed=6), strict=True))
    monkeypatch.setenv("CANVASLAB_SEED", "5")
    assert draw(seed=6) == first
    assert tiers.current_seed() == 5


def test_a_tier_cannot_be_changed_survives_pickling_and_names_its_knobs():
    T = tier(**TABLES)
    with pytest.raises(AttributeError):
        T.steps = 3
    with pytest.raises(AttributeError, match=r"no knob 'stepz'.*steps"):
        _ = T.stepz
    assert pickle.loads(pickle.dumps(T)).steps == T.steps


def test_it_shows_all_three_tiers_and_marks_the_active_one_in_words():
    T = tier(**TABLES)
    for shown in (repr(T), T._repr_html_()):
        for part in ("smoke", "laptop (active)", "gpu", "100", "steps"):
            assert part in shown


def test_the_gpu_tier_runs_without_a_gpu_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("CANVASLAB_TIER", "gpu")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert tier(**TABLES).steps == 100
    assert "no GPU" in capsys.readouterr().out
