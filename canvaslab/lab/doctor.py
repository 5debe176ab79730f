"""Is everything here that the course needs? What is fine, what is not, and what to do about it."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from html import escape
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}
GIB = 2**30


class Check(NamedTuple):
    """One thing looked at. status: "ok", "warn" (works, with a limit) or "fail"; advice is empty when all is well."""

    name: str
    status: str
    found: str
    advice: str = ""


def checks() -> list[Check]:
    """Look at everything once, in about a second. Never raises: what cannot be looked at is itself a warning."""
    return [_safely(look) for look in LOOKS]


def report(found: Iterable[Check] | None = None) -> None:
    """Show the checks (fresh ones unless given): a table in a notebook, lines of text in a terminal."""
    from .display import publish

    found = list(checks() if found is None else found)
    publish({"text/plain": as_text(found), "text/html": as_html(found)})


def verdict(found: list[Check]) -> str:
    """One sentence on the whole."""
    failed = [check.name for check in found if check.status == "fail"]
    warned = [check.name for check in found if check.status == "warn"]
    if failed:
        return f"Not ready: look at {', '.join(failed)}."
    return f"Ready, with a note on {', '.join(warned)}." if warned else "Ready: everything is here."


def as_text(found: list[Check]) -> str:
    """The checks as aligned lines, the advice under the line that it belongs to."""
    width = max((len(check.name) for check in found), default=0)
    lines = []
    for check in found:
        lines.append(f"{MARKS[check.status]} {check.name.ljust(width)}  {check.found}")
        lines += [f"  {' ' * width}  → {check.advice}"] if check.advice else []
    return "\n".join([*lines, verdict(found)])


def as_html(found: list[Check]) -> str:
    """The checks as a table."""
    left = 'style="text-align:left"'
    rows = ""
    for check in found:
        advice = f"<br><em>{escape(check.advice)}</em>" if check.advice else ""
        rows += f'<tr><td title="{check.status}">{MARKS[check.status]}</td><th {left}>{escape(check.name)}</th>'
        rows += f"<td {left}>{escape(check.found)}{advice}</td></tr>"
    return f"<table><caption>{escape(verdict(found))}</caption>{rows}</table>"


def _safely(look: Callable[[], Check]) -> Check:
    name = look.__name__.strip("_")
    try:
        return look()
    except ImportError as error:
        return Check(name, "fail", f"{error.name or error} is not installed", "install the project again: make lab")
    except Exception as error:  # a doctor who faints helps nobody
        return Check(name, "warn", f"could not be looked at ({type(error).__name__}: {error})")


def _short(path: str | Path) -> str:
    """A path as its reader knows it: from the project's folder, from home, or its end only."""
    path = Path(os.path.abspath(path))
    for base, sign in ((Path(__file__).parents[2], ""), (Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return f"{sign}{path.relative_to(base)}"
    return "…/" + "/".join(path.parts[-2:])


def _requirements() -> list:
    from packaging.requirements import Requirement

    found = [Requirement(line) for line in metadata.requires("canvaslab") or []]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": "lab"})]


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    try:
        accepted = SpecifierSet(metadata.metadata("canvaslab")["Requires-Python"])
    except metadata.PackageNotFoundError:
        return Check("python", "warn", version, "canvaslab runs uninstalled from its folder; install it: make lab")
    if version not in accepted:
        return Check("python", "fail", version, f"canvaslab wants Python {accepted}")
    return Check("python", "ok", f"{version}, {_short(sys.executable)}")


def _torch() -> Check:
    import torch

    if float((torch.ones(8, 8) @ torch.ones(8, 8)).sum()) != 512:
        return Check("torch", "fail", f"{torch.__version__} multiplies wrongly", "install torch again")
    return Check("torch", "ok", f"{torch.__version__}")


def _device() -> Check:
    import torch

    from .device import best_device, device_name

    device = best_device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        return Check("device", "ok", f"cuda, {device_name(device)}, {free / GIB:.0f} of {total / GIB:.0f} GiB free")
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        built = torch.version.cuda
        cause = f"torch is built for CUDA {built}, older drivers do not serve it" if built else "torch is a CPU build"
        return Check("device", "warn", "cpu, beside an NVIDIA driver", f"{cause}; install the torch that fits it")
    return Check("device", "ok", f"{device.type}, {device_name(device)}")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free, total = min(free, int(text) - used), min(total, int(text))
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < 2 * GIB:
        return Check("memory", "warn", found, "close other kernels: a notebook takes up to 2 GiB")
    return Check("memory", "ok", found)


def _threads() -> Check:
    import torch

    from .device import allowed_cpus, idle_cpus, threads

    allowed, idle, wanted = allowed_cpus(), idle_cpus(), threads()
    found = f"{allowed:g} CPUs allowed, {max(0.0, idle):.1f} idle; {wanted} to use, torch has {torch.get_num_threads()}"
    if min(allowed, idle) < 0.7:
        return Check("threads", "warn", found, "other programs keep the CPUs busy: times will be longer than stated")
    return Check("threads", "ok", found)


def _widgets() -> Check:
    versions = {name: _version(name) for name in ("ipywidgets", "jupyterlab_widgets", "jupyterlab")}
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if versions["ipywidgets"] is None:
        return Check("widgets", "fail", found, "pip install ipywidgets; until then pictures show in place of widgets")
    if None in versions.values():
        return Check("widgets", "warn", found, "in JupyterLab: pip install jupyterlab; other editors bring their own")
    if versions["ipywidgets"].split(".")[0] != "8" or versions["jupyterlab_widgets"].split(".")[0] != "3":
        return Check("widgets", "warn", found, "ipywidgets 8 and jupyterlab_widgets 3 belong together: upgrade both")
    return Check("widgets", "ok", found)


def _kernel() -> Check:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Check("kernel", "fail", "there is no python3 kernel", "pip install ipykernel")
    # A bare name is replaced by the interpreter that starts the kernel.
    path = command if os.path.dirname(command) else sys.executable
    if os.path.abspath(path) != os.path.abspath(sys.executable):
        advice = f"notebooks would run in another Python than this one: start JupyterLab from {_short(sys.executable)}"
        return Check("kernel", "warn", _short(path), f"{advice}, or with make lab")
    return Check("kernel", "ok", f"python3 runs {_short(path)}")


def _data() -> Check:
    from ..data.images import FASHION_FILES, fault, find_fashion

    places = {file: find_fashion(file) for file in FASHION_FILES}
    if missing := [file for file, path in places.items() if path is None]:
        advice = "load('fashion-mnist') fetches it once (31 MB); without a network, name its folder in CANVASLAB_DATA"
        return Check("data", "warn", f"Fashion-MNIST: {', '.join(missing)} not on this disk", advice)
    faults = {file: fault(path.read_bytes(), FASHION_FILES[file]) for file, path in places.items()}
    if wrong := [f"{file} {what}" for file, what in faults.items() if what]:
        folder = _short(next(places[file] for file, what in faults.items() if what).parent)
        return Check("data", "fail", f"Fashion-MNIST: {'; '.join(wrong)}", f"delete what is wrong in {folder}")
    folder = _short(next(iter(places.values())).parent)
    return Check("data", "ok", f"Fashion-MNIST whole in {folder}, its four sha256 sums right")


def _disk() -> Check:
    from ..data.dataset import cache_folder

    cache = cache_folder()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    free = {"here": shutil.disk_usage(Path.cwd()).free / GIB, "in the cache": shutil.disk_usage(there).free / GIB}
    found = ", ".join(f"{room:.0f} GiB free {where}" for where, room in free.items())
    if not os.access(Path.cwd(), os.W_OK):
        return Check("disk", "warn", f"{found}; this folder is read-only", "copy the notebooks to keep what you change")
    if min(free.values()) < 1:
        return Check("disk", "warn", found, "free some room: checkpoints and figures need up to 1 GiB")
    return Check("disk", "ok", found)


def _network() -> Check:
    data = _data()
    if data.status == "ok":
        return Check("network", "ok", "not needed: the course's data are on this disk")
    return Check("network", "warn", "needed once, for the data", data.advice)


def _versions() -> Check:
    try:
        wanted = _requirements()
    except metadata.PackageNotFoundError:
        return Check("versions", "warn", "canvaslab is not installed here", "install it: make lab")
    wrong = []
    for requirement in wanted:
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version or 'missing'} (wanted {requirement.specifier})")
    if wrong:
        return Check("versions", "fail", ", ".join(wrong), "bring them into range: make lab, or pip install -e .[lab]")
    return Check("versions", "ok", f"canvaslab {_version('canvaslab')}; all {len(wanted)} packages within range")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


LOOKS = (
    _python, _torch, _device, _memory, _threads, _widgets, _kernel, _data, _disk, _network, _versions,
)  # fmt: skip
