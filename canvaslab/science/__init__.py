"""What networks do: plain functions on any denoiser or module. Import the topic, e.g. ``science.hallucinate``."""

from importlib import import_module

_MODULES = ("hallucinate", "many", "recursion")
__all__ = [*_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'canvaslab.science' has no attribute {name!r}; it has {', '.join(_MODULES)}")


def __dir__() -> list[str]:
    return sorted(__all__)
