"""A small classifier of images, shipped trained: its features measure samples, its sibling judges them."""
import hashlib
import json
import os
import warnings
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

ASSETS = Path(__file__).resolve().parents[1] / "assets"
# Two nets that share nothing: another seed, stem, depth and width.
ROLES = {
    "features": {"file": "fashion_classifier", "seed": 0, "epochs": 7, "net": {"widths": (32, 64, 64, 64), "patch": 2}},
    "judge": {"file": "fashion_judge", "seed": 1, "epochs": 6, "net": {"widths": (16, 32, 64, 96), "patch": 1}},
}


class Classifier(nn.Module):
    """Small CNN: x (B, channels, size, size) in [0, 1] -> logits (B, classes).

    Standardises x itself with ``mean`` and ``std`` (of all pixels). ``patch`` x ``patch`` pixels become channels, then
    one 3 x 3 convolution per width, halving the resolution between them while it is above 7. ``features(x)`` are the
    (B, widths[-1]) averages before the last layer.
    """
    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10, widths: tuple[int, ...] = (32, 64, 64, 64),
                 patch: int = 2, mean: float = 0.2860, std: float = 0.3530):
        super().__init__()
        if size % patch:
            raise ValueError(f"Classifier(size={size}, patch={patch}): the size must be a multiple of the patch")
        self.shape, self.patch = (channels, size, size), patch
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        layers, width, size = [], channels * patch**2, size // patch
        for out in widths:
            layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU()]
            if size > 7:
                layers.append(nn.MaxPool2d(2))
                size //= 2
            width = out
        self.stem, self.body = nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])
        self.head = nn.Linear(width, classes)
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) in [0, 1] -> (B, widths[-1])."""
        if x.shape[1:] != self.shape or not x.is_floating_point():
            raise ValueError(f"x of shape {tuple(x.shape)} and type {x.dtype} was given; "
                             f"accepted: (B, {', '.join(map(str, self.shape))}), floating point, in [0, 1]")
        x = F.pixel_unshuffle((x - self.mean) / self.std, self.patch)
        return self.body(self.stem(x.contiguous(memory_format=torch.channels_last))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def _loss(model, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy on uint8 images, shifted by up to two pixels and mirrored at random."""
    x, y = batch
    left, top = torch.randint(0, 5, (2,)).tolist()
    x = F.pad(x.float() / 255, (2, 2, 2, 2))[..., top:top + x.shape[2], left:left + x.shape[3]]
    return F.cross_entropy(model(torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)), y)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, size: int = 1000) -> float:
    """Share of uint8 images x (N, C, H, W) whose largest logit is at y (N,). Call it in eval mode."""
    device = next(model.parameters()).device
    right = [model(a.to(device).float() / 255).argmax(1).cpu() == b.cpu()
             for a, b in zip(x.split(size), y.split(size), strict=True)]
    return torch.cat(right).double().mean().item()


def fit(role: str = "features", epochs: float | None = None, progress: bool = True) -> Classifier:
    """Train the classifier of a role on Fashion-MNIST from its seed; one to two minutes on one CPU core."""
    from ..data import Batches
    from ..data import load as load_data
    from ..lab.optim import recipe_optimizer
    from ..lab.train import train, warmup_flat_decay
    data, seed = load_data("fashion-mnist"), ROLES[role]["seed"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(**ROLES[role]["net"])
        batches = Batches((data.x, data.y), 128, seed=seed)
        steps = max(1, round((epochs or ROLES[role]["epochs"]) * len(batches)))
        schedule = warmup_flat_decay(steps, flat_until=0.2, end=0.0)
        for _ in train(model, batches, _loss, recipe_optimizer(model, adam_lr=4e-3), steps, lr=schedule,
                       progress=progress):
            pass
    return model.cpu().eval().requires_grad_(False)


def pretrained(name: str = "fashion-mnist", role: str = "features", retrain: bool = False) -> Classifier:
    """A trained `Classifier`, in eval mode and without gradients of its weights, on the CPU.

    role: 'features' (its 64 features measure distances) or 'judge' (independent: another seed and architecture;
    for class agreement). The shipped weights are checked against their sha256; if they are missing or altered, a
    warning says so and the net is trained here, as with ``retrain=True``. Errors: unknown name or role.
    """
    if name != "fashion-mnist" or role not in ROLES:
        raise ValueError(f"pretrained({name!r}, role={role!r}) was asked for; "
                         f"there is 'fashion-mnist' with role {' or '.join(map(repr, ROLES))}")
    if not retrain:
        try:
            model = Classifier(**ROLES[role]["net"])
            model.load_state_dict(load(_checked(ASSETS / f"{ROLES[role]['file']}.safetensors")))
            return model.eval().requires_grad_(False)
        except (OSError, ValueError, KeyError) as problem:
            warnings.warn(f"the shipped classifier cannot be used ({problem}), so it is trained here in one "
                          "or two minutes; reinstall canvaslab to get it back", stacklevel=2)
    return fit(role)


def stamp(role: str) -> dict:
    """How the shipped weights of a role were made: accuracy on the test set, seed, torch, date, sha256."""
    return json.loads((ASSETS / f"{ROLES[role]['file']}.json").read_text())


def _checked(path: Path) -> bytes:
    content, wanted = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())["sha256"]
    if hashlib.sha256(content).hexdigest() != wanted:
        raise ValueError(f"{path.name} does not have the sha256 that its json states")
    return content


def make_assets() -> None:
    """Train both classifiers and write them with their stamps to canvaslab/assets."""
    from .. import __version__
    from ..data import load as load_data
    from ..lab.device import device_name
    test = load_data("fashion-mnist", split="test")
    for role, entry in ROLES.items():
        model = fit(role)
        content = save({k: v.cpu().contiguous() for k, v in model.state_dict().items()})
        facts = {"accuracy": round(accuracy(model, test.x, test.y), 4), "seed": entry["seed"],
                 "torch": torch.__version__, "date": date.today().isoformat(), "device": device_name(),
                 "made by": f"python -m canvaslab.nets.classifier, canvaslab {__version__}", "net": entry["net"],
                 "sha256": hashlib.sha256(content).hexdigest()}
        for suffix, data in (("safetensors", content), ("json", (json.dumps(facts, indent=2) + "\n").encode())):
            draft = ASSETS / f".{entry['file']}.{suffix}"
            draft.write_bytes(data)
            os.replace(draft, ASSETS / f"{entry['file']}.{suffix}")
        print(f"{role}: {sum(p.numel() for p in model.parameters())} parameters, test accuracy {facts['accuracy']:.4f}")


if __name__ == "__main__":
    make_assets()
