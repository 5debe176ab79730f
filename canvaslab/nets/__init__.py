"""Networks. Each is called ``net(x, noise, cond=None)``; what it predicts is decided by the scalings, not by it."""

from .classifier import Classifier, pretrained
from .mlp import MLP
from .unet import UNet

__all__ = ["MLP", "Classifier", "UNet", "pretrained"]
