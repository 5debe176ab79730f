"""Small results that ship: the tensors that a long cell made in a run before, for the stage and for quick looks."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from inspect import getsource
from pathlib import Path
from typing import Any

from . import tiers
from .files import write_atomically
from .results import RESULTS
from .stage import limit

LARGEST = 3_000_000  # bytes
FIELDS = ("tier", "device", "seconds", "date", "code", "sha256")


def shipped(
    name: str, make: Callable[[], dict[str, Any]], *, retrain: bool | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Make a dictionary of tensors, or load the one that `run` made and shipped, saying so.

    name: of the file, for example "04_model". make() -> {name: tensor}, at best a model's state_dict. retrain: True
    always makes; False loads whenever the file is good; None loads only on stage, and only where making took longer
    than the stage's seconds. A file that is missing, altered, of another tier or made by other code is named in one
    sentence, and then the tensors are made. With CANVASLAB_SHIP=1 in the environment they are made and written, in
    files of at most 3 MB each.
    Returns tensors on the CPU when loaded, else what `make` gave.
    """
    folder = folder or RESULTS
    if os.environ.get("CANVASLAB_SHIP") == "1":
        return _write(folder, name, make)
    seconds = limit()
    if retrain or (retrain is None and seconds is None):
        return make()
    about, problem = _about(folder, name)
    problem = problem or _other(about, make)
    if problem:
        print(f"{name} {problem}, so this is made now.")
        return make()
    if retrain is None and about["seconds"] <= seconds:
        return make()
    print(f"Loaded, not made now: {name}, {_made(about)}.")
    return _read(folder, about)


def load_shipped(name: str, part: str = "", *, folder: Path | None = None, say: bool = True) -> dict[str, Any]:
    """The tensors of a shipped result, for notebooks other than the one that made it.

    part: "model" keeps the tensors named "model.*" and takes the prefix off. say: print where they were made.
    Errors: FileNotFoundError or ValueError (altered files, no such part), each with what to do.
    """
    about, problem = _about(folder or RESULTS, name)
    if problem:
        again = f"install canvaslab again, or make it: CANVASLAB_SHIP=1 python -m canvaslab run {name[:2]}"
        raise (ValueError if "altered" in problem else FileNotFoundError)(f"the result {name!r} {problem}: {again}")
    tensors = _read(folder or RESULTS, about)
    found = part_of(tensors, part) if part else tensors
    if say:
        print(f"Loaded: {name}{f', part {part!r}' if part else ''}, {_made(about)}.")
    return found


def part_of(tensors: dict[str, Any], part: str) -> dict[str, Any]:
    """The tensors named "part.*", without that prefix. ValueError, which lists the parts, if there are none."""
    found = {key.removeprefix(f"{part}."): t for key, t in tensors.items() if key.startswith(f"{part}.")}
    if not found:
        known = ", ".join(sorted({key.split(".")[0] for key in tensors}))
        raise ValueError(f"there is no part {part!r}; the parts: {known}")
    return found


def _made(about: dict) -> str:
    return f"made in {about['seconds']:.0f} s at the {about['tier']} tier on {about['device']}, {about['date']}"


def _about(folder: Path, name: str) -> tuple[dict, str]:
    """(what is known of a shipped result, "") or ({}, why it cannot be used)."""
    note = folder / f"{name}.json"
    if not note.is_file():
        return {}, "does not ship with this version"
    try:
        about = json.loads(note.read_text(encoding="utf-8"))
        files = {folder / file: digest for file, digest in about["sha256"].items()}
        complete = set(FIELDS) <= set(about)
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}, "was altered since it was made"
    if not all(path.is_file() for path in files):
        return {}, "does not ship with this version"
    if not complete or any(sha256(path.read_bytes()).hexdigest() != digest for path, digest in files.items()):
        return {}, "was altered since it was made"
    return about, ""


def _other(about: dict, make: Callable) -> str:
    """Why a good file is not what this cell would make; "" if it is."""
    if about["tier"] != tiers.current():
        return f"was made at the {about['tier']} tier and this is {tiers.current()}"
    return "" if about["code"] == _code(make) else "was made by other code than this cell has now"


def _read(folder: Path, about: dict) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {key: tensor for file in about["sha256"] for key, tensor in load_file(folder / file).items()}


def _code(make: Callable) -> str:
    """Hash of the function's own source; what it calls is not in it."""
    return sha256(getsource(make).encode()).hexdigest()


def _write(folder: Path, name: str, make: Callable) -> dict[str, Any]:
    from safetensors.torch import save

    from .device import device_name

    start = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - start
    parts = [save(part) for part in _parts({key: t.detach().cpu().contiguous() for key, t in made.items()})]
    if max(map(len, parts)) > LARGEST:
        raise ValueError(f"{name} has a tensor too large to ship; a file has at most {LARGEST:,} bytes: ship less")
    numbers = [""] if len(parts) == 1 else [f"-{i}" for i in range(1, len(parts) + 1)]
    names = [f"{name}{number}.safetensors" for number in numbers]
    about = {
        "tier": tiers.current(), "device": device_name(tiers.current_device()), "seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(), "code": _code(make),
        "sha256": {file: sha256(data).hexdigest() for file, data in zip(names, parts, strict=True)},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in zip(names, parts, strict=True):
        write_atomically(folder / file, data)
    write_atomically(folder / f"{name}.json", json.dumps(about, indent=1) + "\n")
    return made


def _parts(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    """Tensors in files of at most LARGEST bytes, in order; 5 % are left for the names."""
    parts, size = [{}], 0
    for key, tensor in tensors.items():
        size += tensor.nbytes
        if size > 0.95 * LARGEST and parts[-1]:
            parts.append({})
            size = tensor.nbytes
        parts[-1][key] = tensor
    return parts
