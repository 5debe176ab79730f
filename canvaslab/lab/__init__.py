"""The bench: tiers, training, claims, metrics, plots, widgets, stamps. Names load when first touched."""

from importlib import import_module

_NAMES = {
    "tier": "tiers", "claim": "claims", "explore": "widgets", "slider": "widgets", "choice": "widgets",
    "train": "train", "EMA": "train", "mode": "train", "warmup_flat_decay": "train", "cosine_decay": "train",
    "recipe_optimizer": "optim", "Muon": "optim", "best_device": "device", "course": "course", "measured": "results",
}  # fmt: skip
_MODULES = ("claims", "course", "device", "doctor", "metrics", "optim", "plots", "results", "stamp", "widgets")
__all__ = [*_NAMES, *(m for m in _MODULES if m not in _NAMES)]


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'canvaslab.lab' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
