"""Three scales of every notebook: `smoke` for tests, `laptop` by default, `gpu` for the full thing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

TIERS = ("smoke", "laptop", "gpu")
_active: "Tier | None" = None


@dataclass(frozen=True)
class Tier:
    """The knobs of the active tier as attributes (`T.steps`), with `T.name`, `T.seed` and `T.device`.

    Immutable; as the last line of a cell it shows all three tiers with the active one marked.
    """

    name: str
    seed: int
    device: Any
    tables: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def __getattr__(self, key: str) -> Any:
        knobs = {} if key.startswith("__") else self.tables[self.name]
        if key in knobs:
            return knobs[key]
        raise AttributeError(f"this notebook's tiers have no knob {key!r}; they have {', '.join(knobs)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.tables[self.name]]

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        keys = list(self.tables[self.name])
        heads = [f"{name} (active)" if name == self.name else name for name in TIERS]
        return ["", *heads], [[key, *(_short(self.tables[name][key]) for name in TIERS)] for key in keys]

    def _caption(self) -> str:
        return f"tier {self.name}, seed {self.seed}, device {self.device}"

    def __repr__(self) -> str:
        head, rows = self._rows()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        line = "  ".join(f"{{:{width}}}" for width in widths)
        return "\n".join([self._caption(), *(line.format(*row).rstrip() for row in [head, *rows])])

    def _repr_html_(self) -> str:
        head, rows = self._rows()
        mark = TIERS.index(self.name) + 1
        body = "".join(
            "<tr>" + "".join(f"<{_tag(i, mark)}>{escape(c)}</{_tag(i, mark)}>" for i, c in enumerate(row)) + "</tr>"
            for row in rows
        )
        top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        return f"<table><caption>{escape(self._caption())}</caption><tr>{top}</tr>{body}</table>"


def _tag(column: int, mark: int) -> str:
    return "th" if column in (0, mark) else "td"


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def current() -> str:
    """Name of the active tier: of the last `tier(...)`, else from CANVASLAB_TIER, else "laptop"."""
    return _active.name if _active is not None else _name_from_environment()


def current_seed() -> int | None:
    """Seed of the last `tier(...)`, or None before the first."""
    return None if _active is None else _active.seed


def current_device() -> Any:
    """torch.device of the last `tier(...)`, or the CPU before the first, where no tier has picked another."""
    return "cpu" if _active is None else _active.device


def tier(*, smoke: Mapping, laptop: Mapping, gpu: Mapping, seed: int = 0, use: str | None = None) -> Tier:
    """Pick the knobs of one tier, seed everything, set the threads.

    smoke, laptop, gpu: one mapping each from knob to value, the same knobs in all three. `seed`: a whole number,
    0 to 2**32 - 1; CANVASLAB_SEED overrides it. `use`: the tier's name; when not given, CANVASLAB_TIER names it, and
    when that is not set it is laptop. Seeds `random`, numpy and torch; torch gets as many threads as CPUs are free.

    Returns a `Tier`. ValueError for an unknown tier, for knobs that differ, for a seed out of range.
    """
    global _active
    from .device import best_device, set_threads

    tables = {"smoke": dict(smoke), "laptop": dict(laptop), "gpu": dict(gpu)}
    _check_knobs(tables)
    name, seed = _known(use, "use") if use else _name_from_environment(), _seed_from_environment(seed)
    device = best_device()
    if name == "gpu" and device.type == "cpu":
        print("The gpu tier was asked for but this machine shows no GPU: the same knobs run on the CPU, which is slow.")
    set_threads()
    _seed_everything(seed)
    _active = Tier(name, seed, device, tables)
    return _active


def _check_knobs(tables: dict[str, dict]) -> None:
    for name, knobs in tables.items():
        if set(knobs) != set(tables["laptop"]):
            odd = ", ".join(sorted(set(knobs) ^ set(tables["laptop"])))
            raise ValueError(f"tiers {name} and laptop differ in their knobs ({odd}); give all three the same ones")
    for key in tables["laptop"]:
        if not key.isidentifier() or key.startswith("_") or key in ("name", "seed", "device", "tables"):
            raise ValueError(f"{key!r} cannot be a knob: use a Python name other than name, seed, device, tables")


def _name_from_environment() -> str:
    return _known(os.environ.get("CANVASLAB_TIER") or "laptop", "CANVASLAB_TIER")


def _known(name: str, source: str) -> str:
    if name not in TIERS:
        raise ValueError(f"{source} is {name!r}; it can be {', '.join(TIERS)} (unset means laptop)")
    return name


def _seed_from_environment(seed: int) -> int:
    given = os.environ.get("CANVASLAB_SEED") or seed
    text = str(given).strip()
    if isinstance(given, bool) or not (text.isascii() and text.isdigit() and int(text) < 2**32):
        source = "seed" if given is seed else "CANVASLAB_SEED"
        raise ValueError(f"{source} is {given!r}; it must be a whole number from 0 to 2**32 - 1")
    return int(text)


def _seed_everything(seed: int) -> None:
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
