"""The bench: tiers, training, claims, metrics, plots, widgets, stamps.

What needs matplotlib or ipywidgets loads when it is first touched, so that scripts without pictures start quickly.
"""

from importlib import import_module

from . import device, metrics
from .claims import claim
from .compare import compare
from .device import best_device
from .exercises import exercises
from .optim import Muon, recipe_optimizer
from .results import measured
from .shipped import load_shipped, shipped
from .stage import stage
from .tiers import tier
from .train import EMA, cosine_decay, mode, train, warmup_flat_decay

_LATER = {"explore": "widgets", "slider": "widgets", "choice": "widgets"}
_MODULES = ("course", "doctor", "plots", "stamp", "widgets")
__all__ = [
    "EMA", "Muon", "best_device", "claim", "compare", "cosine_decay", "device", "exercises", "measured", "metrics",
    "load_shipped", "mode", "recipe_optimizer", "shipped", "stage", "tier", "train", "warmup_flat_decay",
    *_LATER, *_MODULES,
]  # fmt: skip


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'canvaslab.lab' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
