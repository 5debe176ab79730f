"""Run a notebook from top to bottom in a fresh kernel and save it with its outputs and stamp, whole or not at all."""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import claims, stamp, tiers
from .course import note_cost
from .files import write_atomically

SLOW = 5.0  # seconds from which the stamp names a cell
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PROBE = "__import__('canvaslab.lab.stamp', fromlist=['stamp']).measured_here()"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PROGRESS = re.compile(r"\d+%\||\d+it \[|[\d.?]+ ?(it/s|s/it)")


class RunFailed(RuntimeError):
    """A notebook did not run to its end; the message names the cell and shows the error."""


@dataclass(frozen=True)
class Ran:
    """What `run` did: where it saved, the stamp, the claims as records."""

    path: Path
    stamp: dict
    claims: list[dict]

    def __str__(self) -> str:
        made, counts = self.stamp, [c["status"] for c in self.claims]
        told = ", ".join(f"{counts.count(s)} {s}" for s in ("PASS", "FAIL", "NOT TESTED") if s in counts) or "none"
        return (
            f"{self.path.stem}: tier {made['tier']}, {made['wall_seconds']:.0f} s "
            f"({made['cpu_seconds']:.0f} CPU s), {made['peak_memory_mb']} MB; claims: {told}"
        )


def run(
    notebook: str | Path,
    tier: str | None = None,
    seed: int | None = None,
    *,
    out: str | Path | None = None,
    timeout: float | None = None,
    bar: bool = True,
) -> Ran:
    """Execute a notebook in a fresh kernel of this interpreter and save it in place, stamped.

    notebook: a path. tier, seed: override CANVASLAB_TIER and CANVASLAB_SEED for it. out: save there instead.
    timeout: seconds allowed for each cell (None: no limit). bar: show progress over the cells on stderr.

    Returns a `Ran`. RunFailed if a cell fails or the file changed meanwhile: then the old file stays as it was.
    """
    path = Path(notebook)
    before = path.read_bytes()
    nb, measured, wall = execute(path, tier, seed, timeout=timeout, bar=bar)
    made = stamp.stamp(nb, measured, wall_seconds=wall, tier=tier or tiers.current())
    note_cost(nb)
    found = claims.records(nb)
    if out is None and path.read_bytes() != before:
        raise RunFailed(f"{path.name} was changed by someone else while it ran, so it was not saved; run it again")
    target = Path(out) if out is not None else path
    save(nb, target)
    return Ran(target, made, found)


def save(nb: Any, path: Path) -> None:
    """Write a valid notebook atomically."""
    import nbformat

    nbformat.validate(nb)
    write_atomically(path, nbformat.writes(nb) + "\n")


def execute(
    path: Path, tier: str | None, seed: int | None, *, timeout: float | None, bar: bool, allow: tuple[str, ...] = ()
) -> tuple[Any, dict, float]:
    """Execute without saving: (cleaned notebook, what its kernel measured, wall seconds).

    Measured is `stamp.measured_here()` and "slow_cells", the seconds of each cell that took more than SLOW, by its id.
    `allow`: names of errors that do not stop it.
    """
    import nbformat
    from jupyter_core.utils import run_sync

    try:
        nb = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many kinds for one thing: this is no notebook
        raise RunFailed(f"{path} cannot be read as a notebook: {error}") from error
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    start = time.perf_counter()
    measured = run_sync(_execute)(nb, path, _environment(tier, seed), timeout, bar, allow)
    wall = time.perf_counter() - start
    clean(nb)
    return nb, measured, wall


def _environment(tier: str | None, seed: int | None) -> dict[str, str]:
    """The kernel's environment: this one, the tier and the seed, and this very canvaslab first on the path."""
    extra = {"CANVASLAB_TIER": tier or os.environ.get("CANVASLAB_TIER") or "laptop"}
    if extra["CANVASLAB_TIER"] not in tiers.TIERS:
        raise ValueError(f"tier {extra['CANVASLAB_TIER']!r} is unknown; it can be {', '.join(tiers.TIERS)}")
    if seed is not None:
        extra["CANVASLAB_SEED"] = str(seed)
    paths = [str(stamp.PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **extra, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _kernel_manager(sockets: Path) -> Any:
    """A manager whose kernel is this interpreter, whatever kernels are registered on the machine."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name=KERNEL["display_name"], language="python")

    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    if os.name == "posix":  # files that only this user can open, instead of ports that any program here can
        manager.transport, manager.ip = "ipc", str(sockets / "kernel")
    return manager


async def _execute(
    nb: Any, path: Path, env: dict[str, str], timeout: float | None, bar: bool, allow: tuple[str, ...]
) -> dict:
    from nbclient import NotebookClient
    from tqdm import tqdm

    sockets = TemporaryDirectory(prefix="canvaslab-")
    manager = _kernel_manager(Path(sockets.name))
    client = NotebookClient(
        nb, km=manager, timeout=timeout, record_timing=False, store_widget_state=False, coalesce_streams=True,
        allow_error_names=list(allow), resources={"metadata": {"path": str(path.resolve().parent)}},
    )  # fmt: skip
    code = [i for i, cell in enumerate(nb.cells) if cell.cell_type == "code"]
    slow = {}
    try:
        async with client.async_setup_kernel(env=env, cleanup_kc=True):
            with tqdm(total=len(code), desc=path.stem, unit="cell", disable=not bar, file=sys.stderr) as shown:
                for count, index in enumerate(code, start=1):
                    shown.set_postfix_str(_first_lines(nb.cells[index].source, 1)[:50])
                    start = time.perf_counter()
                    await _execute_cell(client, nb, index, count, path)
                    seconds = round(time.perf_counter() - start, 1)
                    slow |= {nb.cells[index].id: seconds} if seconds > SLOW else {}
                    shown.update()
            return {**await _probe(client), "slow_cells": slow}
    finally:
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)
        sockets.cleanup()


async def _execute_cell(client: Any, nb: Any, index: int, count: int, path: Path) -> None:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    cell = nb.cells[index]
    try:
        await client.async_execute_cell(cell, index, execution_count=count)
    except CellExecutionError as error:
        traceback = [o.traceback for o in cell.outputs if o.output_type == "error"]
        last = ANSI.sub("", "\n".join(traceback[-1])).splitlines() if traceback else str(error).splitlines()
        raise RunFailed(_failure(path, index, nb, "\n".join(last[-12:]))) from None
    except CellTimeoutError:
        why = f"it took longer than the {client.timeout:g} seconds of --timeout"
        raise RunFailed(_failure(path, index, nb, why)) from None
    except DeadKernelError:
        why = "its kernel ended: killed from outside, or out of memory"
        raise RunFailed(_failure(path, index, nb, why)) from None


def _failure(path: Path, index: int, nb: Any, error: str) -> str:
    source = "\n".join("    " + line for line in _first_lines(nb.cells[index].source, 4).splitlines())
    head = f"{path.name}: cell {index + 1} of {len(nb.cells)} failed; the saved notebook was left as it was"
    return f"{head}\n{source}\n{error}"


def _first_lines(source: str, n: int) -> str:
    return "\n".join([line for line in source.splitlines() if line.strip()][:n])


async def _probe(client: Any) -> dict:
    """Ask the kernel what it used, after the last cell, without leaving a cell or a history entry."""
    import ast

    reply = await client.kc.execute_interactive(
        "", silent=True, store_history=False, user_expressions={"measured": PROBE}, timeout=60,
        output_hook=lambda _: None,
    )  # fmt: skip
    answer = reply["content"].get("user_expressions", {}).get("measured", {})
    if answer.get("status") != "ok":
        raise RunFailed(f"the kernel could not tell what it used: {answer.get('evalue', 'no answer')}")
    return ast.literal_eval(answer["data"]["text/plain"])


def clean(nb: Any) -> None:
    """Keep what a reader sees and nothing that changes by itself: no widget views, timings or progress on stderr."""
    nb.metadata.pop("widgets", None)
    nb.metadata["kernelspec"] = dict(KERNEL)
    nb.metadata.get("language_info", {}).pop("version", None)  # the stamp says which Python
    for cell in nb.cells:
        for key in ("execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_cleaned, cell.outputs) if output is not None]


def _cleaned(output: Any) -> Any:
    data = output.get("data", {})
    if WIDGET_VIEW in data:
        return None
    if "image/png" in data:
        data.pop("text/html", None)  # the same picture again, for live screen readers
    if output.output_type == "stream" and output.name == "stderr":
        lines = [line for line in re.split(r"[\r\n]+", output.text) if line.strip() and not PROGRESS.search(line)]
        output.text = "\n".join(lines) + "\n"
        return output if lines else None
    return output
