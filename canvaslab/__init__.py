"""canvaslab: a laboratory in notebooks for generative models and the science of deep learning.

Two plain callables hold everything together:

* ``denoise(x, sigma, cond=None) -> x0_hat`` is the posterior mean E[x0 | x] for ``x = x0 + sigma * eps``.
  An exact Gaussian mixture, an MLP, a U-Net and a guided pair are all such callables.
* ``loss(model, batch) -> scalar`` is all that the training loop knows of a topic.

The subpackages load when they are first touched: ``diffusion``, ``nets``, ``data``, ``lab``.
"""

from importlib import import_module

__version__ = "0.1.0"

_SUBPACKAGES = ("data", "diffusion", "lab", "nets", "science")
__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str):
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'canvaslab' has no attribute {name!r}; it has {', '.join(_SUBPACKAGES)}")


def __dir__() -> list[str]:
    return sorted(__all__)
