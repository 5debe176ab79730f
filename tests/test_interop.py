"""diffusers both ways, on small models with random weights: the same network must give the same samples."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from canvaslab.diffusion import (
    EDM,
    X0,
    Denoiser,
    Eps,
    Flow,
    SampleNoise,
    V,
    adams_bashforth,
    ancestral,
    dpmpp_2m,
    euler,
    from_diffusers,
    given,
    guided,
    heun,
    interop,
    last,
    noise,
    sample,
    to_diffusers,
)  # fmt: skip
from canvaslab.diffusion.denoise import DiscreteTime
from canvaslab.nets.unet import UNet

diffusers = pytest.importorskip("diffusers")
F64 = torch.float64
SMALL = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unet(**extra):
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, **SMALL, **extra,
    )  # fmt: skip
    return model.double().eval()


def text_unet():
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **SMALL,
    ).double().eval()  # fmt: skip


def theirs(scheduler, model, z, n, scale=None, **kwargs):
    """diffusers' own loop."""
    scheduler.set_timesteps(n)
    x = z * (scheduler.init_noise_sigma if scale is None else scale)
    with torch.no_grad():
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            told = t.to(z).expand(len(z)) if t.is_floating_point() else t
            x = scheduler.step(model(seen, timestep=told, **kwargs).sample, t, x).prev_sample.to(z.dtype)
    return x


def close(ours, other, bound=1e-4):
    error = ((ours - other).norm() / other.norm()).item()
    assert error < bound, f"relative difference {error:.1e}"


# --- from diffusers: every kind of prediction, by diffusers' own sampling loop ------------------------------------


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_discrete_time_models(prediction):
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=False, prediction_type=prediction)
    z, net = randn(2, 1, 8, 8), unet()
    denoise, sigmas = from_diffusers(net, scheduler), interop.grid(scheduler, 8)  # DDIM wants n to divide 1000
    assert type(denoise.scalings) is {"epsilon": Eps, "v_prediction": V, "sample": X0}[prediction]
    ours = last(sample(denoise, z * (1 + sigmas[0] ** 2).sqrt(), sigmas))
    close(ours, theirs(scheduler, net, z, 8))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind, step", [("EulerDiscrete", euler), ("HeunDiscrete", heun), ("LMSDiscrete", None)])
def test_sigma_schedulers(prediction, kind, step):
    """Euler, Heun and diffusers' Adams-Bashforth on uneven grids against ours, by their own names of levels."""
    scheduler = getattr(diffusers, f"{kind}Scheduler")(timestep_spacing="trailing", prediction_type=prediction)
    z, net = randn(2, 1, 8, 8), unet()
    denoise, sigmas = from_diffusers(net, scheduler), interop.grid(scheduler, 7)
    ours = last(sample(denoise, z * sigmas[0], sigmas, step or adams_bashforth(4)))
    close(ours, theirs(scheduler, net, z, 7, scale=sigmas[0]), 2e-4)


def test_edm_models():
    for prediction in ("epsilon", "v_prediction"):
        scheduler = diffusers.EDMEulerScheduler(0.01, 10.0, sigma_data=0.5, prediction_type=prediction)
        z, net = randn(2, 1, 8, 8), unet()
        denoise, sigmas = from_diffusers(net, scheduler), interop.grid(scheduler, 7)
        ours = last(sample(denoise, z * sigmas[0], sigmas))
        close(ours, theirs(scheduler, net, z, 7, scale=sigmas[0]))


def test_flow_models():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    net = unet()
    sigmas = interop.grid(scheduler, 7)
    assert sigmas[0] == noise.sigma_from_flow_time(torch.tensor(0.9999, dtype=F64))
    # both from t = 0.99, since the first level of diffusers is infinite on our clock
    z, t0 = randn(2, 1, 8, 8), 0.99
    times = [t0, 0.8, 0.5, 0.2]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=times)
    x = z * t0
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t.double().expand(2)).sample, t, x).prev_sample.double()
    sigmas = noise.sigma_from_flow_time(torch.tensor([*times, 0.0], dtype=F64))
    close(last(sample(from_diffusers(net, scheduler), z * sigmas[0], sigmas)), x)


def test_flow_through_a_multistep_scheduler():
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(5)
    net, x, i = unet(), randn(2, 1, 8, 8), 2
    sigma = scheduler.sigmas[i].double()
    scheduler._step_index = i
    told = (1000 * sigma).expand(2)  # their own loop rounds it to a whole number
    x0 = scheduler.convert_model_output(net(x, told).sample, sample=x)
    s = noise.sigma_from_flow_time(sigma)
    close(from_diffusers(net, scheduler)(x / (1 - sigma), s), x0)


def test_score_models():
    scheduler = diffusers.ScoreSdeVeScheduler(sigma_max=20.0)
    net = unet(time_embedding_type="fourier")
    denoise, x, s = from_diffusers(net, scheduler), randn(2, 1, 8, 8), torch.tensor(2.0, dtype=F64)
    close((denoise(x, s) - x) / s**2, net(x, s.expand(2)).sample)
    assert len(interop.grid(scheduler, 9)) == 10


# --- conditions, guidance, latents --------------------------------------------------------------------------------


def test_text_to_image_with_guidance_in_latent_space():
    """Text to latents to images, against the loop of diffusers' own pipelines."""
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
    net, z, w = text_unet(), randn(2, 4, 8, 8), 5.0
    text, empty = randn(2, 3, 8, seed=1), randn(1, 3, 8, seed=2).expand(2, -1, -1)
    denoise, sigmas = from_diffusers(net, scheduler), interop.grid(scheduler, 5)
    strong, weak = given(denoise, text), given(denoise, {"encoder_hidden_states": empty})
    ours = last(sample(guided(weak, strong, w), z * (1 + sigmas[0] ** 2).sqrt(), sigmas))
    x = z
    with torch.no_grad():
        for t in scheduler.timesteps:
            a, b = (net(x, t, encoder_hidden_states=e).sample for e in (empty, text))
            x = scheduler.step(a + w * (b - a), t, x).prev_sample
    close(ours, x)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8), norm_num_groups=2, latent_channels=4, scaling_factor=0.2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).double()  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(interop.decode(vae, ours), vae.decode(ours / 0.2).sample)
    image = randn(1, 3, 16, 16)
    torch.testing.assert_close(interop.encode(vae, image) / 0.2, vae.encode(image).latent_dist.mode())


def test_class_labels_and_no_label():
    net = unet(num_class_embeds=4)
    scheduler, x, labels = diffusers.DDPMScheduler(), randn(2, 1, 8, 8), torch.tensor([2, -1])
    with pytest.raises(ValueError, match="no_label=index"):
        from_diffusers(net, scheduler)(x, 1.0, labels)
    denoise = from_diffusers(net, scheduler, no_label=3)
    assert torch.equal(denoise(x, 1.0, labels), denoise(x, 1.0, torch.tensor([2, 3])))
    assert not torch.equal(denoise(x, 1.0, labels), denoise(x, 1.0, torch.tensor([2, 0])))


def test_class_conditional_transformer_with_learned_variance():
    torch.manual_seed(0)
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=4,
        num_embeds_ada_norm=5, norm_num_groups=2,
    ).double().eval()  # fmt: skip
    scheduler, x = diffusers.DDIMScheduler(), randn(2, 4, 4, 4)
    denoise = from_diffusers(dit, scheduler)
    s = denoise.scalings.noise.levels[300]
    ours = denoise(x, s, torch.tensor([1, -1]))
    eps = dit(x / (1 + s**2).sqrt(), torch.tensor([300, 300]).double(), torch.tensor([1, 5])).sample[:, :4]
    close(ours, x - s * eps)


def test_transformer_with_other_argument_names():
    torch.manual_seed(0)
    sd3 = diffusers.SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
        joint_attention_dim=8, caption_projection_dim=8, pooled_projection_dim=6, out_channels=4, pos_embed_max_size=8,
    ).double().eval()  # fmt: skip
    text = {"encoder_hidden_states": randn(2, 3, 8), "pooled_projections": randn(2, 6)}
    denoise, z = from_diffusers(sd3, diffusers.FlowMatchEulerDiscreteScheduler()), randn(2, 4, 4, 4)
    t = torch.tensor(0.4, dtype=F64)
    velocity = sd3(hidden_states=z, timestep=(1000 * t).expand(2), **text).sample
    close(denoise(z / (1 - t), noise.sigma_from_flow_time(t), text), z - t * velocity)


def test_a_whole_pipeline_and_half_precision():
    scheduler = diffusers.DDPMScheduler()
    pipe = diffusers.DDPMPipeline(unet().float(), scheduler)
    x = randn(2, 1, 8, 8, dtype=torch.float32)
    assert torch.equal(from_diffusers(pipe)(x, 1.0), from_diffusers(pipe.unet, scheduler)(x, 1.0))
    half = from_diffusers(unet().bfloat16(), scheduler)(x, 1.0)
    assert half.dtype == torch.float32
    close(half, from_diffusers(pipe)(x, 1.0), 0.05)


def test_a_schedule_that_ends_in_pure_noise():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    denoise = from_diffusers(unet(), scheduler)
    assert len(denoise.scalings.noise.levels) == 999 and denoise(randn(1, 1, 8, 8), 5.0).isfinite().all()


# --- what is refused ----------------------------------------------------------------------------------------------


def test_wrong_predictions_and_missing_schedulers():
    net = unet()
    with pytest.raises(ValueError, match="prediction_type='score'.*accepted"):
        from_diffusers(net, diffusers.DDIMScheduler(prediction_type="score"))
    with pytest.raises(ValueError, match=r"CMStochasticIterativeScheduler .* accepted"):
        from_diffusers(net, diffusers.CMStochasticIterativeScheduler())
    with pytest.raises(TypeError, match="pass a diffusers scheduler"):
        from_diffusers(net)
    with pytest.raises(TypeError, match="neither a unet nor a transformer"):
        from_diffusers(type("Pipe", (), {"scheduler": diffusers.DDIMScheduler()})())
    with pytest.raises(TypeError, match="needs a UNet, a transformer"):
        from_diffusers("a/model", diffusers.DDIMScheduler())
    with pytest.raises(ValueError, match="also needs encoder_hidden_states: pass cond="):
        from_diffusers(text_unet(), diffusers.DDIMScheduler())(randn(1, 4, 8, 8), 1.0)


# --- to diffusers -------------------------------------------------------------------------------------------------

LEVELS = noise.sigma_from_alpha_bar(noise.ddpm_alpha_bar())
NET = {"channels": 1, "size": 8, "widths": (8, 16), "embedding": 16}
RULES = {
    "edm": EDM(0.4), "eps": Eps(), "x0": X0(), "v": V(), "flow": Flow(),
    "eps, discrete": Eps(DiscreteTime(LEVELS)),
}  # fmt: skip


def ours(rule, **extra):
    torch.manual_seed(0)
    net = UNet(**NET, **extra)
    for p in net.parameters():  # also the layers that start at zero
        nn.init.normal_(p, std=0.1)
    return Denoiser(net, rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_saved_denoiser_samples_the_same(tmp_path, rule, eta):
    denoiser, n, seeds = ours(RULES[rule]), 20, [3, 4]
    to_diffusers(denoiser, tmp_path, shape=(1, 8, 8), config=NET)
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    got = pipe(2, generator=generators, num_inference_steps=n, eta=eta, output_type="pt").images

    stream = SampleNoise(seeds)
    grid = noise.trailing(interop.levels(pipe.scheduler), n)
    x = stream.start((1, 8, 8)) * (1 + grid[0] ** 2).sqrt().float()  # a pipeline starts from randn
    want = last(sample(denoiser, x, grid, ancestral(eta, stream)))
    torch.testing.assert_close(got, (want / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)
    if not rule.startswith("eps"):  # an untrained eps network's samples leave the range, and pipelines clip
        assert ((got > 0) & (got < 1)).float().mean() > 0.2
    if eta == 0:  # without clipping
        close(theirs(pipe.scheduler, pipe.unet, x / (1 + grid[0] ** 2).sqrt().float(), n), want)


@pytest.mark.parametrize(("n", "equal"), [(8, True), (40, True), (125, True), (30, False), (7, False)])
def test_a_pipelines_steps_are_ours_where_their_number_divides_the_levels(tmp_path, n, equal):
    """DDIMScheduler looks T / n levels apart and steps T // n down; other schedulers step to where they look next."""
    levels = noise.geometric(1000, 0.01, 50.0)[:-1].flip(0)
    pipe = to_diffusers(ours(EDM(0.4)), tmp_path, shape=(1, 8, 8), config=NET, levels=levels)
    z, sigmas = randn(2, 1, 8, 8, dtype=torch.float32), interop.levels(pipe.scheduler)

    def apart(scheduler, grid):
        want = last(sample(ours(EDM(0.4)), z * (1 + grid[0] ** 2).sqrt().float(), grid))
        return ((theirs(scheduler, pipe.unet, z, n, 1.0) - want).norm() / want.norm()).item()

    gap = apart(pipe.scheduler, noise.trailing(sigmas, n))
    assert gap < 1e-4 if equal else gap > 3e-3
    solver = diffusers.DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, solver_order=1, final_sigmas_type="zero"
    )
    assert apart(solver, interop.grid(solver, n)) < 1e-3


def test_a_saved_denoiser_comes_back_with_its_labels(tmp_path):
    denoiser = ours(EDM(0.4), classes=3)
    to_diffusers(denoiser, tmp_path, shape=(1, 8, 8), config={**NET, "classes": 3})
    back = from_diffusers(diffusers.DiffusionPipeline.from_pretrained(tmp_path), no_label=-1)
    x, labels = randn(2, 1, 8, 8, dtype=torch.float32), torch.tensor([2, -1])
    for s in (0.01, 0.5, 20.0):
        torch.testing.assert_close(back(x, s, labels), denoiser(x, s, labels), rtol=1e-3, atol=1e-4)


def test_other_schedulers_take_a_saved_denoiser(tmp_path):
    denoiser = ours(EDM(0.4))
    to_diffusers(denoiser, tmp_path, shape=(1, 8, 8), config=NET)
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, final_sigmas_type="zero")
    z, grid = randn(2, 1, 8, 8, dtype=torch.float32), interop.grid(scheduler, 10)
    x = last(sample(denoiser, z * (1 + grid[0] ** 2).sqrt().float(), grid, dpmpp_2m()))
    close(x, theirs(scheduler, pipe.unet, z, 10), 1e-3)


def test_a_diffusers_network_is_saved_as_it_is(tmp_path):
    """What we trained around a UNet2DModel loads where canvaslab is not installed."""
    denoiser = from_diffusers(unet().float(), diffusers.DDPMScheduler())
    to_diffusers(denoiser, tmp_path, shape=(1, 8, 8))
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DModel"]
    code = (
        "import sys, torch, diffusers; p = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1]); "
        "p(1, num_inference_steps=2); assert 'canvaslab' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


def test_a_saved_folder_loads_in_a_fresh_process(tmp_path):
    to_diffusers(ours(Flow()), tmp_path, shape=(1, 8, 8), config=NET)
    code = (
        "import sys, canvaslab.diffusion; assert 'diffusers' not in sys.modules; import diffusers; "
        "diffusers.DiffusionPipeline.from_pretrained(sys.argv[1])(1, num_inference_steps=2)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="does not rebuild the network"):
        to_diffusers(ours(EDM()), tmp_path, shape=(1, 8, 8), config={"size": 8})
    with pytest.raises(ValueError, match="accepted: .channels, height, width."):
        to_diffusers(ours(EDM()), tmp_path, shape=(2,), config=NET)
    with pytest.raises(ValueError, match="leave levels= out"):
        to_diffusers(ours(RULES["eps, discrete"]), tmp_path, shape=(1, 8, 8), config=NET, levels=LEVELS)
    with pytest.raises(ValueError, match="ascend"):
        to_diffusers(ours(EDM()), tmp_path, shape=(1, 8, 8), config=NET, levels=LEVELS.flip(0))
    with pytest.raises(ValueError, match="save others with their own pipeline"):
        to_diffusers(from_diffusers(text_unet(), diffusers.DDIMScheduler()), tmp_path, shape=(4, 8, 8))
