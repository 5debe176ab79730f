"""diffusers both ways: their networks as ``denoise``, our denoisers as their pipelines.

    denoise = from_diffusers(unet, scheduler)            # any sampler, guidance or score of ours works on it
    x = last(sample(given(denoise, text), sigmas[0] * noise, sigmas := grid(scheduler, 30)))
    to_diffusers(model, "folder", shape=(1, 28, 28), config=dict(channels=1, size=28))
    DiffusionPipeline.from_pretrained("folder")          # samples what ``euler`` samples

Latent models: ``decode(vae, x)`` and ``encode(vae, images)`` stand outside. diffusers is imported when first needed.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import noise
from .denoise import EDM, X0, Denoiser, DiscreteTime, Eps, Flow, Scalings, V

DISCRETE = {"epsilon": Eps, "v_prediction": V, "sample": X0, "original_sample": X0}
PREDICTIONS = "'epsilon', 'v_prediction', 'sample' and 'flow_prediction'"


@dataclass(frozen=True)
class FlowTime:
    """``Flow`` for a network that is told t * steps, as diffusers' flow models are."""

    steps: float

    def __call__(self, sigma: Tensor) -> Scalings:
        c = Flow()(sigma)
        return c._replace(noise=self.steps * c.noise)


@dataclass(frozen=True)
class EDMVelocity:
    """``EDM`` for a network that predicts with the opposite sign: diffusers' 'v_prediction' on EDM schedulers."""

    sigma_data: float = 0.5

    def __call__(self, sigma: Tensor) -> Scalings:
        c = EDM(self.sigma_data)(sigma)
        return c._replace(out=-c.out)


@dataclass(frozen=True)
class Score:
    """The network predicts the score of the noisy data and is told sigma itself (Song et al. 2021, VE-SDE)."""

    def __call__(self, sigma: Tensor) -> Scalings:
        return Scalings(torch.ones_like(sigma), sigma.square(), torch.ones_like(sigma), sigma)


def levels(scheduler: Any) -> Tensor:
    """The finite noise levels that a discrete-time scheduler was trained on, ascending: (T,) float64."""
    sigma = noise.sigma_from_alpha_bar(scheduler.alphas_cumprod.detach().double().cpu())
    return sigma[sigma.isfinite()]


def scalings(scheduler: Any) -> Callable[[Tensor], Scalings]:
    """What a scheduler's network predicts, as scalings of the library.

    Errors: ValueError for a scheduler whose prediction type or noise is none of the known ones; TypeError for what is
    no scheduler.
    """
    name, config = type(scheduler).__name__, getattr(scheduler, "config", None)
    if config is None or not hasattr(scheduler, "set_timesteps"):
        raise TypeError(
            f"the scheduler says what the network predicts and at which noise levels, but {name} was given; "
            "pass a diffusers scheduler, such as DDIMScheduler.from_pretrained(folder, subfolder='scheduler')"
        )
    prediction = config.get("prediction_type")
    if prediction == "flow_prediction" or name.startswith("FlowMatch"):
        return FlowTime(config["num_train_timesteps"])
    if name.startswith("EDM") and prediction in ("epsilon", "v_prediction"):
        return (EDM if prediction == "epsilon" else EDMVelocity)(config["sigma_data"])
    if name == "ScoreSdeVeScheduler":
        return Score()
    if hasattr(scheduler, "alphas_cumprod") and prediction in DISCRETE:
        return DISCRETE[prediction](DiscreteTime(levels(scheduler)))
    raise ValueError(
        f"{name} with prediction_type={prediction!r} was given; accepted: discrete-time, EDM and "
        f"flow-matching schedulers with the prediction types {PREDICTIONS}, and ScoreSdeVeScheduler"
    )


def grid(scheduler: Any, n: int) -> Tensor:
    """The noise levels that the scheduler itself visits in n steps, as our sigmas ending in 0: float64.

    Flow times are cut at 0.9999, since sigma is infinite at pure noise. The scheduler's timesteps are set to n.
    """
    kind = scalings(scheduler)
    scheduler.set_timesteps(n)
    if isinstance(kind, FlowTime):
        sigmas = noise.sigma_from_flow_time(scheduler.sigmas.double().clamp_max(0.9999))
    elif isinstance(kind, Score):
        scheduler.set_sigmas(n)
        sigmas = scheduler.discrete_sigmas.double().flip(0)
    elif hasattr(scheduler, "sigmas"):
        sigmas = scheduler.sigmas.double()
    else:
        table = levels(scheduler)
        sigmas = table[scheduler.timesteps.long().cpu().clamp_max(len(table) - 1)]
    sigmas = sigmas[sigmas > 0].unique().flip(0)  # second-order schedulers repeat their levels
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class DiffusersNet(nn.Module):
    """A diffusers model with the call of our networks, ``net(x, noise, cond)``.

    cond: None; (B,) integer class labels; a float tensor, the encoder_hidden_states; or a dict of keyword arguments of
    the model. no_label: the class index that stands for 'no label', which we write -1.
    """

    def __init__(self, model: nn.Module, time_scale: float, no_label: int | None, fixed: dict):
        super().__init__()
        self.model, self.time_scale, self.no_label, self.fixed = model, time_scale, no_label, fixed
        parameters = list(inspect.signature(model.forward).parameters.values())
        self.needed = [p.name for p in parameters[1:] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]

    def forward(self, x: Tensor, noise: Tensor, cond: Any = None) -> Tensor:
        kwargs = {**self.fixed, "timestep": noise * self.time_scale, **self.keywords(cond)}
        missing = [name for name in self.needed if name not in kwargs]
        if missing:
            raise ValueError(
                f"{type(self.model).__name__} also needs {', '.join(missing)}: pass cond=, a float tensor for "
                f"encoder_hidden_states or a dict such as dict({missing[0]}=...)"
            )
        dtype = next((p.dtype for p in self.model.parameters()), x.dtype)
        out = self.model(x.to(dtype), **kwargs)
        out = out[0] if isinstance(out, tuple) else out.sample
        return out[:, : x.shape[1]] if out.shape[1] == 2 * x.shape[1] else out  # the rest is a learned variance

    def keywords(self, cond: Any) -> dict:
        if cond is None or isinstance(cond, dict):
            return cond or {}
        if cond.is_floating_point():
            return {"encoder_hidden_states": cond}
        if self.no_label is None and bool((cond < 0).any()):
            raise ValueError(
                "cond has -1 (no label), but which class of this model stands for 'no label' is unknown; "
                "pass from_diffusers(..., no_label=index)"
            )
        return {"class_labels": cond if self.no_label is None else cond.where(cond >= 0, self.no_label)}


def from_diffusers(
    model: Any, scheduler: Any = None, *, no_label: int | None = None, time_scale: float = 1.0, **fixed: Any
) -> Denoiser:
    """A diffusers UNet or transformer with its scheduler, as ``denoise(x, sigma, cond=None)``.

    model: the network, or a whole pipeline (then the scheduler is the pipeline's). scheduler: says what the network
    predicts (epsilon, v, x0 or flow) and how it is told the noise. no_label: class index for the label -1 (known for
    DiT). time_scale: factor on the timestep, 1e-3 for networks that scale it themselves (Flux). fixed: keyword
    arguments of every call of the network. x is in the network's own space: latents for a latent model. A scheduler's
    clipping and thresholding of x0 are steps of sampling, not of the denoiser, and are left out.

    Returns a ``Denoiser`` over the same weights. See ``DiffusersNet`` for ``cond``, ``grid`` for the levels.
    Errors: TypeError without a scheduler, ValueError for an unknown prediction type.
    """
    if scheduler is None and hasattr(model, "scheduler"):
        model, scheduler = _network(model), model.scheduler
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"from_diffusers needs a UNet, a transformer or a pipeline that has one, got {type(model).__name__}"
        )
    rule = scalings(scheduler)
    config = getattr(model, "config", {})
    if no_label is None and config.get("norm_type") == "ada_norm_zero":
        no_label = config.get("num_embeds_ada_norm")
    return Denoiser(DiffusersNet(model, time_scale, no_label, fixed), rule)


def _network(pipeline: Any) -> Any:
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if network is None:
        raise TypeError(
            f"{type(pipeline).__name__} has neither a unet nor a transformer; pass from_diffusers(model, scheduler)"
        )
    return network


@torch.no_grad()
def encode(vae: Any, images: Tensor) -> Tensor:
    """Latents of images (B, C, H, W) in [-1, 1]: the posterior mean, scaled as the network was trained on it."""
    posterior = vae.encode(images).latent_dist
    return (posterior.mean - (vae.config.get("shift_factor") or 0.0)) * vae.config.get("scaling_factor", 1.0)


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Images (B, C, H, W), about [-1, 1], of latents as ``encode`` gives and samplers end with."""
    scaled = latents / vae.config.get("scaling_factor", 1.0) + (vae.config.get("shift_factor") or 0.0)
    return vae.decode(scaled).sample


def to_diffusers(
    denoiser: Denoiser, folder: str | Path, *, shape: tuple[int, int, int], config: dict | None = None,
    levels: Tensor | None = None,
) -> Any:  # fmt: skip
    """Save a denoiser as a folder that ``DiffusionPipeline.from_pretrained(folder)`` loads; returns the DDIMPipeline.

    denoiser: a ``Denoiser`` with a network of canvaslab.nets (or of a module that is imported where it is loaded), or
    one made by ``from_diffusers`` of a UNet2DModel, which needs no canvaslab to load. shape: (channels, height, width)
    of the data, in [-1, 1] as pipelines take it. config: the arguments that build the network anew. levels: ascending
    training levels, (T,); by default the denoiser's own, else 1000 from 0.002 to 80.

    n steps of the pipeline equal ``sample(denoiser, x, noise.trailing(interop.levels(pipeline.scheduler), n))`` where n
    divides the number of levels T: 1000 by default, so 10, 20, 25, 40, 50 or 100, not 30. DDIMScheduler looks T / n
    levels apart, rounded, but steps ``T // n`` levels down, so that with another n a step ends beside the level at
    which the next one looks. For such n take ``grid`` and a scheduler that has ``sigmas``, which all fit.
    Before loading a network of ours, ``import canvaslab.diffusion``. Errors: ValueError for other networks and shapes.
    """
    import diffusers

    from .exported import export

    told = getattr(denoiser.scalings, "noise", None)
    if isinstance(told, DiscreteTime) and levels is not None:
        raise ValueError("this network is told the index of its own training levels: leave levels= out")
    if levels is None:
        levels = told.levels if isinstance(told, DiscreteTime) else noise.karras(1000)[:-1].flip(0)
    prediction, unet = export(denoiser, shape, config, _alpha_bar_of(levels))
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=len(levels), trained_betas=_betas(levels), timestep_spacing="trailing", clip_sample=False,
        prediction_type=prediction, set_alpha_to_one=True,
    )  # fmt: skip
    pipeline = diffusers.DDIMPipeline(unet, scheduler)
    pipeline.save_pretrained(folder)
    return pipeline


def _betas(table: Tensor) -> list[float]:
    """The betas whose cumulative product is alpha_bar at each of the ascending levels."""
    if table.ndim != 1 or not (table > 0).all() or not (table.diff() > 0).all():
        raise ValueError("levels must be a 1-D tensor of positive noise levels that ascend (the cleanest first)")
    alpha_bar = noise.alpha_bar_from_sigma(table.double().cpu())
    return (1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])).tolist()


def _alpha_bar_of(table: Tensor) -> Tensor:
    """alpha_bar as the scheduler will hold it: rounded to float32 before the product."""
    return torch.cumprod(1 - torch.tensor(_betas(table), dtype=torch.float32), 0).double()


def __getattr__(name: str) -> Any:
    if name in ("CanvaslabModel", "ModelMixin"):  # what diffusers looks for here when it loads a folder
        from . import exported

        return getattr(exported, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
