"""A training run on disk: whole at any moment, read without running code."""
import random
import shutil
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def random_state() -> dict:
    """State of the generators of python, numpy and torch (every device), in types that `torch.load` trusts."""
    kind, keys, *rest = numpy.random.get_state()
    state = {"python": random.getstate(), "numpy": [kind, keys.tolist(), *rest], "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Put back what `random_state` returned; a device that is not here is passed over."""
    random.setstate(state["python"])
    numpy.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in ``folder`` (holding model.safetensors, ...), or None."""
    steps = sorted(Path(folder).glob("step-*"))
    return steps[-1] if steps else None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # a copy each: safetensors refuses tensors that share memory or are not contiguous
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in module.state_dict().items()}


def _shapes(optimizer: torch.optim.Optimizer) -> list:
    return [[list(p.shape) for p in group["params"]] for group in optimizer.param_groups]


def save(folder: str | Path, n: int, model: nn.Module, optimizer, ema, feed: dict, accelerator) -> None:
    """Write the checkpoint of step n and delete the older one.

    Everything goes to a hidden folder that is renamed when it is complete, so a kill leaves the old or the new one.
    """
    folder = Path(folder)
    target, draft = folder / f"step-{n:09d}", folder / f".writing-{n:09d}"
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    accelerator.wait_for_everyone()
    own = {"random": random_state(), "feed": feed, "processes": accelerator.num_processes}
    torch.save(own, draft / f"process-{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        save_file(_tensors(model), draft / "model.safetensors")
        if ema is not None:
            save_file(_tensors(ema.model), draft / "ema.safetensors")
        torch.save({"n": n, "ema_n": ema.n if ema else 0, "optimizer": optimizer.state_dict(),
                    "kind": type(optimizer).__name__, "shapes": _shapes(optimizer)}, draft / "optimizer.pt")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        draft.rename(target)
        for old in [*folder.glob("step-*"), *folder.glob(".writing-*")]:
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _fill(module: nn.Module, path: Path, what: str) -> None:
    saved, own = load_file(path), module.state_dict()
    there, here = ({name: tuple(t.shape) for name, t in side.items()} for side in (saved, own))
    odd = sorted(name for name in there | here if there.get(name) != here.get(name))
    if odd:
        name = odd[0]
        raise ValueError(f"{path} is the {what} of another run: {len(odd)} tensors differ, first {name!r}, "
                         f"{there.get(name, 'absent')} in the file and {here.get(name, 'absent')} here; build the same "
                         "model, choose another folder, or delete this one")
    module.load_state_dict(saved)


def load(path: Path, model: nn.Module, optimizer, ema, accelerator) -> tuple[int, dict]:
    """Fill model, optimiser, EMA and the random generators from a checkpoint; returns (n, state of the batches).

    Errors: ValueError, one sentence, when the checkpoint belongs to another model, optimiser, or number of processes.
    """
    rest = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
    if (rest["kind"], rest["shapes"]) != (type(optimizer).__name__, _shapes(optimizer)):
        raise ValueError(f"{path} was written with the optimiser {rest['kind']} over {_count(rest['shapes'])} "
                         f"parameters, but {type(optimizer).__name__} over {_count(_shapes(optimizer))} was given; "
                         "use the same model and optimiser, choose another folder, or delete this one")
    own = path / f"process-{accelerator.process_index}.pt"
    state = torch.load(own, map_location="cpu", weights_only=True) if own.exists() else {"processes": "fewer"}
    if state["processes"] != accelerator.num_processes:
        raise ValueError(f"{path} was written by {state['processes']} processes, but this run has "
                         f"{accelerator.num_processes}: launch as many as before, or choose another folder")
    if ema is not None and not (path / "ema.safetensors").exists():
        raise ValueError(f"{path} has no EMA, but one was given: leave ema out, or choose another folder")
    _fill(model, path / "model.safetensors", "model")
    if ema is not None:
        _fill(ema.model, path / "ema.safetensors", "EMA")
        ema.n = rest["ema_n"]
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(rest["optimizer"])
    for group, own_settings in zip(optimizer.param_groups, settings, strict=True):
        group.update(own_settings)  # a learning rate changed in the code is meant
    set_random_state(state["random"])
    return rest["n"], state["feed"]


def _count(shapes: list) -> int:
    return sum(len(group) for group in shapes)
