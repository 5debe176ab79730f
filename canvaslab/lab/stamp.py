"""Stamps: where, when and from which code a notebook's outputs were made."""

import hashlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


def code_sha256(nb: Any) -> str:
    """Hash of the sources of a notebook's code cells, in order; line ends are normalised, nothing else counts."""
    sources = [_lines(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _lines(source: str | list[str]) -> str:
    text = source if isinstance(source, str) else "".join(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def library_sha256() -> str:
    """Hash of the library's own Python files: recorded in every stamp, not enforced."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        digest.update(_lines(path.read_text(encoding="utf-8")).encode() + b"\0")
    return digest.hexdigest()


def read(nb: Any) -> dict:
    """The stamp of a notebook, {} if it has none."""
    return dict(nb["metadata"].get("canvaslab", {}).get("stamp", {}))


def check(nb: Any) -> str | None:
    """None if the notebook's outputs were made by its code; else one sentence that says what is wrong."""
    made_by = read(nb).get("code_sha256")
    if made_by is None:
        return "it has no stamp: make its outputs with `python -m canvaslab run`"
    if made_by != code_sha256(nb):
        return "its code changed after its outputs were made: make them again with `python -m canvaslab run`"
    return None


def stamp(nb: Any, measured: dict, *, wall_seconds: float, tier: str) -> dict:
    """Write a notebook's stamp into its metadata and return it.

    `measured` comes from `measured_here()` inside the kernel that made the outputs; `tier` is used where that kernel
    never called `tiers.tier`. The times of other tiers stay under "times" as long as the code is the same.
    """
    mine = nb["metadata"].setdefault("canvaslab", {})
    code = code_sha256(nb)
    times = dict(mine.get("times", {})) if mine.get("stamp", {}).get("code_sha256") == code else {}
    made = {
        **measured,
        "tier": measured["tier"] or tier,
        "wall_seconds": round(wall_seconds, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "code_sha256": code,
        "library_sha256": library_sha256(),
    }
    times[made["tier"]] = {key: made[key] for key in ("cpu_seconds", "wall_seconds", "peak_memory_mb", "device")}
    mine["stamp"], mine["times"] = made, times
    return made


def measured_here() -> dict:
    """What only the running process knows: tier, seed, device, versions, CPU seconds, peak memory in MB, what ships.

    CPU seconds count this process from its start and its finished children, so imports are in.
    """
    # before anything is imported, which would count
    cpu_seconds, peak, gpu = round(_cpu_seconds(), 1), round(_peak_memory_mb()), _gpu_memory()
    from importlib.metadata import version

    from .. import __version__
    from . import tiers
    from .device import device_name
    from .shipped import called

    return {
        "tier": None if tiers.current_seed() is None else tiers.current(),
        "seed": tiers.current_seed(),
        "device": device_name(tiers.current_device()),
        "torch": version("torch"),
        "canvaslab": __version__,
        "python": platform.python_version(),
        "cpu_seconds": cpu_seconds,
        "peak_memory_mb": peak,
        "shipped": dict(called),
        **gpu,
    }


def _cpu_seconds() -> float:
    import psutil

    times = psutil.Process().cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "system", "children_user", "children_system"))


def _peak_memory_mb() -> float:
    """Highest resident memory of this process. On Linux not from getrusage, which inherits the parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _gpu_memory() -> dict:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu_peak_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20)}
