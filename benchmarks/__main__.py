"""``python -m benchmarks``: measure, print, and write benchmarks/results.json and benchmarks/README.md."""
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

os.environ |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import torch
import typer

from benchmarks import imports, report, sampling, training
from canvaslab.lab.device import device_name

HERE = Path(__file__).parent
PACKAGES = ("torch", "canvaslab", "diffusers", "smalldiffusion", "denoising-diffusion-pytorch")


def stamp() -> dict[str, str]:
    """Where, with what and when a part was measured."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {"device": device_name("cpu"), "versions": ", ".join(found), "date": datetime.now(UTC).date().isoformat()}


def main(budget: Annotated[float, typer.Option(help="CPU seconds of training for each arm and seed.")] = 30.0,
         seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
         only: Annotated[str, typer.Option(help="One part: training, sampling or imports. The others stay.")] = "",
         quick: Annotated[bool, typer.Option(help="A check in half a minute that writes nothing.")] = False) -> None:
    """Compare canvaslab with its peers on this machine: about a quarter of an hour."""
    if only and only not in report.PARTS:
        raise typer.BadParameter(f"{only!r} was given; accepted: {', '.join(report.PARTS)}", param_hint="--only")
    torch.set_num_threads(1)
    runs, n = range(seeds), 500
    if quick:
        budget, runs, n = 0.5, range(1), 40
    error, steps = 0.01, ((8, 32) if quick else sampling.STEPS)
    parts = {
        "training": lambda: training.measure(training.Judge(n), budget, runs),
        "sampling": lambda: {"error": error, "seeds": list(runs), "solvers": training.gathered(
            [sampling.measure(error, seed, images=4 if quick else 20, steps=steps) for seed in runs])},
        "imports": lambda: {"seconds": imports.measure(range(1 if quick else 3))},
    }
    written = HERE / "results.json"
    results = json.loads(written.read_text()) if written.exists() and only else {}
    for name in [only] if only else parts:
        results[name] = parts[name]() | stamp()
        print(report.PARTS[name](results[name]), flush=True)
        if not quick:
            done = {part: results[part] for part in report.PARTS if part in results}
            written.write_text(json.dumps(done, indent=1) + "\n")
            (HERE / "README.md").write_text(report.page(done))


if __name__ == "__main__":
    typer.run(main)
