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

from . import stamp, tiers
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
    sentence, and then the tensors are made. With CANVASLAB_SHIP=1 in the environment they are made and written.
    Returns tensors on the CPU when loaded, else what `make` gave.
    """
    path = (folder or stamp.PACKAGE / "results") / f"{name}.safetensors"
    if os.environ.get("CANVASLAB_SHIP") == "1":
        return _write(path, make)
    seconds = limit()
    if retrain or (retrain is None and seconds is None):
        return make()
    about, problem = _about(path, make)
    if problem:
        print(f"{path.name} {problem}, so this is made now.")
        return make()
    if retrain is None and about["seconds"] <= seconds:
        return make()
    from safetensors.torch import load_file

    print(f"Loaded, not made now: {path.name}, made in {about['seconds']:.0f} s at the {about['tier']} tier on "
          f"{about['device']}, {about['date']}.")  # fmt: skip
    return load_file(path)


def _about(path: Path, make: Callable) -> tuple[dict, str]:
    """(what is known of a shipped file, "") or ({}, why it cannot be used)."""
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file()):
        return {}, "does not ship with this version"
    try:
        about = json.loads(note.read_text(encoding="utf-8"))
        complete = set(FIELDS) <= set(about)
    except (ValueError, TypeError):
        complete = False
    if not complete or sha256(path.read_bytes()).hexdigest() != about["sha256"]:
        return {}, "was altered since it was made"
    if about["tier"] != tiers.current():
        return {}, f"was made at the {about['tier']} tier and this is {tiers.current()}"
    if about["code"] != _code(make):
        return {}, "was made by other code than this cell has now"
    return about, ""


def _code(make: Callable) -> str:
    """Hash of the function's own source; what it calls is not in it."""
    return sha256(getsource(make).encode()).hexdigest()


def _write(path: Path, make: Callable) -> dict[str, Any]:
    from safetensors.torch import save

    from .device import device_name

    start = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - start
    data = save({key: value.detach().cpu().contiguous() for key, value in made.items()})
    if len(data) > LARGEST:
        raise ValueError(f"{path.name} would have {len(data):,} bytes; what ships has at most {LARGEST:,}: ship less")
    about = {
        "tier": tiers.current(), "device": device_name(tiers.current_device()), "seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(), "code": _code(make), "sha256": sha256(data).hexdigest(),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, data), (path.with_suffix(".json"), (json.dumps(about, indent=1) + "\n").encode())):
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        os.replace(temporary, target)
    return made
