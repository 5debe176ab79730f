"""Laws of the recipe as a program: one command for one process or two, resumed after a kill, sentences for mistakes."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from canvaslab.diffusion import EDM
from canvaslab.lab import checkpoint as disk
from canvaslab.lab import recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def clothes():
    return recipe.task("fashion-mnist", "test")


def test_padding_keeps_every_pixel_and_the_scale_is_measured_on_what_is_trained_on(clothes):
    from canvaslab.data import load
    assert torch.equal(clothes.x[..., 2:30, 2:30], load("fashion-mnist", "test").x)
    assert clothes.x.shape[1:] == (1, 32, 32) and (clothes.x[..., :2] == 0).all()
    scaled = clothes.scaled(clothes.x)
    assert float(scaled.double().mean()) == pytest.approx(0, abs=1e-4)
    assert float(scaled.double().std()) == pytest.approx(0.5, abs=1e-4)
    assert torch.allclose(clothes.to_unit(scaled[:9]), clothes.x[:9] / 255, atol=1e-6)


def test_the_loss_is_one_for_the_blind_and_weighted_as_in_edm(clothes):
    batch = (clothes.x[:2000], clothes.y[:2000])
    torch.manual_seed(0)
    blind = recipe.RecipeLoss(clothes)(lambda x, sigma, cond: EDM(0.5)(sigma.view(-1, 1, 1, 1)).skip * x, batch)
    assert float(blind) == pytest.approx(1, abs=0.05)  # EDM's target has unit variance at every level, table 1


def test_labels_are_hidden_and_colour_images_mirrored_in_their_share(clothes):
    seen = {}

    def model(x, sigma, cond):
        seen.update(x=x, cond=cond)
        return x
    batch = (clothes.x[:4000], clothes.y[:4000])
    recipe.RecipeLoss(clothes, hide=0.25, mirror=True)(model, batch)
    hidden = seen["cond"] == -1
    assert float(hidden.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(seen["cond"][~hidden], batch[1][~hidden]) and (batch[1] >= 0).all()
    x0, flipped = clothes.scaled(batch[0]), clothes.scaled(batch[0]).flip(3)
    near = [((seen["x"] - side) * x0).flatten(1).sum(1).abs() for side in (x0, flipped)]
    assert 0.3 < float((near[1] < near[0]).double().mean()) < 0.7


@pytest.mark.parametrize("net", ["xs", "s", "m", "l", "xl", "dit-xs", "dit-s", "dit-l"])
def test_every_preset_takes_images_of_32(net):
    with torch.device("meta"):
        made = recipe.build(net, 3, 10)
        assert made(torch.empty(2, 3, 32, 32), torch.empty(2), torch.empty(2).long()).shape == (2, 3, 32, 32)


def launch(folder, processes):
    """The command of the notebook, on the CPU; OMP_NUM_THREADS as everywhere in the tests."""
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--num_processes={processes}", "--num_machines=1",
               "--mixed_precision=no", "--dynamo_backend=no", *(["--multi_gpu"] if processes > 1 else []),
               "-m", "canvaslab.lab.recipe", "--net", "xs", "--steps", "3", "--batch", "8", "--folder", str(folder)]
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)


def test_the_same_command_runs_two_processes_that_train_one_model(tmp_path):
    done = launch(tmp_path, 2)
    assert done.returncode == 0, done.stderr
    assert "3 steps of 8 images on 2 process(es), cpu" in done.stdout
    folder = disk.latest(tmp_path)
    assert folder.name == "step-000000003" and len(list(folder.glob("process-*.pt"))) == 2
    start = recipe.build("xs", 1, 10).state_dict()
    moved = load_file(folder / "ema.safetensors")
    assert {f"net.{name}" for name in start} == set(moved) and all(t.isfinite().all() for t in moved.values())


def test_a_batch_that_two_processes_cannot_share_gets_one_sentence(clothes, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: SimpleNamespace(num_processes=2))
    with pytest.raises(ValueError, match="batch of 9 was given to 2 processes"):
        recipe.fit(clothes, batch=9)


@pytest.mark.parametrize("call, sentence", [
    (lambda: recipe.build("xxl", 1, 10), "accepted: xs"),
    (lambda: recipe.task("moons"), "labelled uint8 images"),
    (lambda: recipe.task("fashion-mnist", "test", size=27), "sides of 27"),
])
def test_mistakes_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
