"""Small results that ship: what a long cell made in a run before, for the stage and for quick looks."""

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from inspect import getsource, isfunction
from pathlib import Path
from typing import Any

from . import tiers
from .files import write_atomically
from .results import RESULTS
from .stage import limit

LARGEST = 3_000_000  # bytes
FIELDS = ("tier", "device", "seconds", "date", "code", "sha256")
called: dict[str, str] = {}  # every name that this process asked for, with the hash of its code: stamps keep it

Tree = dict[str, Any]  # of tensors and numbers, in dictionaries and lists, as deep as one likes


def shipped(
    name: str,
    make: Callable[[], Tree],
    *,
    retrain: bool | None = None,
    depends: tuple = (),
    folder: Path | None = None,
) -> Tree:
    """Make a dictionary of tensors and numbers, or load the one that `run` made and shipped, saying so.

    name: of the file, for example "04_model". make() -> a dictionary of tensors, numbers, and dictionaries and lists
    of them, such as {"nets": [model.state_dict(), ...], "seconds": 3.5}; tuples come back as lists. retrain: True
    always makes; False loads whenever the file is good; None loads only on stage, and only where making took longer
    than the stage's seconds. A file that is missing, altered, of another tier or made by other code is named in one
    sentence, and then it is made. Code is `make`'s own source, and what `depends` names: functions by their source,
    values by their repr. With CANVASLAB_SHIP=1 in the environment it is made and written, the tensors in
    files of at most 3 MB each.
    Returns what `make` gave, with tensors on the CPU when loaded. Errors: TypeError for anything else in what is
    shipped, ValueError for a tensor over 3 MB; both name it.
    """
    folder = folder or RESULTS
    code = called[name] = _code(make, *depends)
    if os.environ.get("CANVASLAB_SHIP") == "1":
        return _write(folder, name, make, code)
    seconds = limit()
    if retrain or (retrain is None and seconds is None):
        return make()
    about, problem = _about(folder, name)
    problem = problem or _other(about, code)
    if problem:
        print(f"{name} {problem}, so this is made now.")
        return make()
    if retrain is None and about["seconds"] <= seconds:
        return make()
    print(f"Loaded, not made now: {name}, {_made(about)}.")
    return _read(folder, about)


def load_shipped(name: str, part: str = "", *, folder: Path | None = None, say: bool = True) -> Any:
    """What a shipped result holds, for notebooks other than the one that made it.

    part: one entry of it, such as "model"; empty for all. say: print where it was made.
    Errors: FileNotFoundError or ValueError (altered files, no such part), each with what to do.
    """
    about, problem = _about(folder or RESULTS, name)
    if problem:
        again = f"install canvaslab again, or make it: CANVASLAB_SHIP=1 python -m canvaslab run {name[:2]}"
        raise (ValueError if "altered" in problem else FileNotFoundError)(f"the result {name!r} {problem}: {again}")
    found = _read(folder or RESULTS, about)
    if part and part not in found:
        raise ValueError(f"{name} has no part {part!r}; its parts: {', '.join(sorted(found))}")
    if say:
        print(f"Loaded: {name}{f', part {part!r}' if part else ''}, {_made(about)}.")
    return found[part] if part else found


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


def _other(about: dict, code: str) -> str:
    """Why a good file is not what this cell would make; "" if it is."""
    if about["tier"] != tiers.current():
        return f"was made at the {about['tier']} tier and this is {tiers.current()}"
    return "" if about["code"] == code else "was made by other code than this cell has now"


def _read(folder: Path, about: dict) -> Tree:
    from safetensors import safe_open
    from safetensors.torch import load_file

    files = [folder / file for file in about["sha256"]]
    with safe_open(files[0], "pt") as first:
        tree = json.loads(first.metadata()["made"])
    return _grow(tree, {key: tensor for file in files for key, tensor in load_file(file).items()})


def _take(value: Any, key: str, tensors: dict) -> Any:
    """A tree as JSON, where a tensor is the name under which it is put into `tensors`."""
    import torch

    if isinstance(value, torch.Tensor):
        while key in tensors:  # "a.b" and "b" in "a"
            key += "_"
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return key
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: _take(v, f"{key}.{k}".lstrip("."), tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take(v, f"{key}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, int | float):
        return value
    kind = "dict with keys that are not strings" if isinstance(value, dict) else type(value).__name__
    raise TypeError(f"{key or 'what make() gave'} is a {kind}; tensors, numbers, and lists and dicts of them can ship")


def _grow(value: Any, tensors: dict) -> Any:
    """The tree again, from what `_take` gave."""
    if isinstance(value, dict):
        return {k: _grow(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_grow(v, tensors) for v in value]
    return tensors[value] if isinstance(value, str) else value


def _code(*parts: Any) -> str:
    """Hash of functions' own sources, without what they call, and of other things' repr; looks into dicts and lists.

    Addresses in memory, which differ from run to run, do not count.
    """

    def text(part: Any) -> str:
        if isinstance(part, dict | list | tuple):
            return "".join(map(text, part.items() if isinstance(part, dict) else part))
        return getsource(part) if isfunction(part) else re.sub(r" at 0x[0-9a-f]+", "", repr(part))

    return sha256(text(parts).encode()).hexdigest()


def _write(folder: Path, name: str, make: Callable, code: str) -> Tree:
    from safetensors.torch import save

    from .device import device_name

    start = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - start
    tensors: dict[str, Any] = {}
    tree = _take(made, "", tensors)
    parts = [save(part, {"made": json.dumps(tree)}) for part in _parts(tensors)]
    if max(map(len, parts)) > LARGEST:
        largest = max(tensors, key=lambda key: tensors[key].nbytes)
        size = tensors[largest].nbytes
        raise ValueError(f"{name}: {largest} has {size:,} bytes; a file has at most {LARGEST:,}: ship less of it")
    numbers = [""] if len(parts) == 1 else [f"-{i}" for i in range(1, len(parts) + 1)]
    names = [f"{name}{number}.safetensors" for number in numbers]
    about = {
        "tier": tiers.current(), "device": device_name(tiers.current_device()), "seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(), "code": code,
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
