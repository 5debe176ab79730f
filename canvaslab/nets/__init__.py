"""Networks. Each is called ``net(x, noise, cond=None)``; what it predicts is decided by the scalings, not by it."""

from .autoencoder import Autoencoder
from .classifier import Classifier, pretrained
from .mlp import MLP
from .transformer import DiT
from .unet import UNet
from .uvit import UViT

__all__ = ["MLP", "Autoencoder", "Classifier", "DiT", "UNet", "UViT", "pretrained"]
