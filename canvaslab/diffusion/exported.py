"""A denoiser of ours in the clothes of a diffusers model. Imported only by ``interop``, since it needs diffusers."""

import importlib
import sys
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from . import denoise as rules
from .denoise import Denoiser
from .noise import sigma_from_alpha_bar

SAVED = {"EDM": rules.EDM, "Eps": rules.Eps, "X0": rules.X0, "V": rules.V, "Flow": rules.Flow}
UNCHANGED = {
    rules.Eps: "epsilon",
    rules.V: "v_prediction",
    rules.X0: "sample",
}  # what a pipeline's scheduler can say by itself


class CanvaslabModel(ModelMixin, ConfigMixin):
    """Any denoiser of ours behind the call of ``UNet2DModel``, predicting v on the variance-preserving path.

    v = (sqrt(alpha_bar) z - x0_hat) / sqrt(1 - alpha_bar), which rounds well at every noise level.
    """

    @register_to_config
    def __init__(
        self, net: str, net_config: dict, rule: str, rule_config: dict, discrete: bool, alpha_bar: list,
        sample_size: list, in_channels: int,
    ):  # fmt: skip
        super().__init__()
        self.alpha_bar = torch.tensor(alpha_bar, dtype=torch.float64)  # no buffer: it must stay in float64
        told = {"noise": rules.DiscreteTime(sigma_from_alpha_bar(self.alpha_bar))} if discrete else {}
        self.denoiser = Denoiser(network(net)(**net_config), SAVED[rule](**rule_config, **told))

    def forward(self, sample: Tensor, timestep: Any, class_labels: Tensor | None = None, return_dict: bool = True):
        """sample (B, C, H, W): the variance-preserving point; timestep () or (B,): index of the level. Predicts v."""
        index = torch.as_tensor(timestep, device="cpu").double().expand(len(sample))
        alpha_bar = self.at(index).to(sample.device)
        keep, lose = (w.to(sample.dtype).view(-1, 1, 1, 1) for w in (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))
        sigma = sigma_from_alpha_bar(alpha_bar).to(sample.dtype)
        v = (keep * sample - self.denoiser(sample / keep, sigma, class_labels)) / lose
        return UNet2DOutput(sample=v) if return_dict else (v,)

    def at(self, index: Tensor) -> Tensor:
        """alpha_bar at fractional indices, interpolated in log(sigma) as schedulers with sigmas do."""
        below = index.floor().long().clamp(0, len(self.alpha_bar) - 2)
        log_sigma = sigma_from_alpha_bar(self.alpha_bar).log()
        log_s = torch.lerp(log_sigma[below], log_sigma[below + 1], index - below)
        exact = index == index.round()
        return torch.where(exact, self.alpha_bar[index.round().long()], 1 / (1 + (2 * log_s).exp()))


# saved folders name this module: importing canvaslab.diffusion is enough to load them, and costs no import of diffusers
CanvaslabModel.__module__ = "canvaslab.diffusion.interop"


def network(name: str) -> type[nn.Module]:
    """The class of a network by its full name. Only canvaslab.nets is imported for it; others must be already."""
    module, _, cls = name.rpartition(".")
    if module.startswith("canvaslab.nets"):
        importlib.import_module(module)
    if not hasattr(sys.modules.get(module), cls):
        raise ValueError(f"the folder's network is {name}, which is not imported here: import {module} first")
    return getattr(sys.modules[module], cls)


def export(denoiser: Denoiser, shape: tuple, config: dict | None, alpha_bar: Tensor) -> tuple[str, ModelMixin]:
    """The prediction type and the model that a pipeline saves for this denoiser."""
    rule, model = type(denoiser.scalings), getattr(denoiser.net, "model", None)
    if isinstance(model, ModelMixin):
        if not isinstance(model, UNet2DModel) or rule not in UNCHANGED:
            raise ValueError(
                f"{type(model).__name__} with {rule.__name__} scalings was given; a pipeline without conditions takes "
                "a UNet2DModel that predicts epsilon, v or x0 at discrete times: save others with their own pipeline"
            )
        return UNCHANGED[rule], model
    if rule not in SAVED.values() or len(shape) != 3:
        raise ValueError(
            f"shape={shape} with {rule.__name__} scalings was given; accepted: (channels, height, width) with "
            f"{', '.join(SAVED)}"
        )
    return "v_prediction", _ours(denoiser, shape, config or {}, alpha_bar)


def _ours(denoiser: Denoiser, shape: tuple, config: dict, alpha_bar: Tensor) -> CanvaslabModel:
    net, rule = denoiser.net, denoiser.scalings
    told = getattr(rule, "noise", rules.log_sigma)
    if not isinstance(told, rules.DiscreteTime) and told is not rules.log_sigma:
        raise ValueError(f"the network is told the noise by {told}; accepted: log_sigma, or DiscreteTime(levels)")
    name = f"{type(net).__module__}.{type(net).__qualname__}"
    fields = {k: v for k, v in vars(rule).items() if k != "noise"}
    discrete = isinstance(told, rules.DiscreteTime)
    try:
        ours = CanvaslabModel(
            name, config, type(rule).__name__, fields, discrete, alpha_bar.tolist(), list(shape[1:]), shape[0]
        )
        ours.denoiser.net.load_state_dict(net.state_dict())
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name}(**config) does not rebuild the network from config={config}: {error}") from error
    first = next(net.parameters())
    ours.denoiser.to(first.device, first.dtype)
    return ours
