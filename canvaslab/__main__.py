"""The command line: `python -m canvaslab doctor | run | claims | map | slides | lab`."""

import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="canvaslab: a laboratory in notebooks for generative models.",
)  # fmt: skip


@contextmanager
def plainly():
    """Our own errors are sentences: print them without a traceback, end with 1 (it failed) or 2 (cannot be done)."""
    from .lab.run import RunFailed

    try:
        yield
    except RunFailed as error:
        sys.exit(_say(error, 1))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(_say(error, 2))


def _say(error: Exception, code: int) -> int:
    print(f"canvaslab: {error}", file=sys.stderr)
    return code


@app.command()
def doctor() -> None:
    """Check Python, torch, device, memory, threads, widgets, kernel, data and disk, and say what to do."""
    from .lab.doctor import checks, report

    found = checks()
    report(found)
    sys.exit(any(check.status == "fail" for check in found))


@app.command()
def run(
    notebooks: Annotated[list[str], typer.Argument(help="Numbers (01 04), name beginnings, paths, or all.")],
    tier: Annotated[str | None, typer.Option(help="smoke, laptop or gpu; overrides CANVASLAB_TIER.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the notebook's seed.")] = None,
    seeds: Annotated[str | None, typer.Option(help="0,1,2: measure the claims at each seed; write results/.")] = None,
    out: Annotated[Path | None, typer.Option(help="Save the executed notebook here, not in place.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds allowed for each cell.")] = None,
) -> None:
    """Run notebooks from top to bottom in fresh kernels; save them with outputs and stamp, whole or not at all."""
    from .lab.course import find
    from .lab.results import run_seeds
    from .lab.run import RunFailed
    from .lab.run import run as run_one

    with plainly():
        paths = find(notebooks)
        if out is not None and (len(paths) != 1 or seeds is not None):
            raise ValueError("--out goes with one notebook and without --seeds")
        if seed is not None and seeds is not None:
            raise ValueError("give --seed or --seeds, not both")
        many = None if seeds is None else _seeds(seeds)
        failed = 0
        for path in paths:
            try:
                if many is not None:
                    print(f"wrote {run_seeds(path, many, tier, timeout=timeout).name}")
                else:
                    print(run_one(path, tier, seed, out=out, timeout=timeout))
            except RunFailed as error:
                failed = _say(error, 1)
    sys.exit(failed)


def _seeds(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"--seeds needs whole numbers, for example 0,1,2; given {text!r}")
    return [int(word) for word in words]


@app.command()
def claims(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of objects.")] = False,
    folder: Annotated[Path | None, typer.Option(help="The folder with the notebooks.")] = None,
) -> None:
    """The claims of the committed notebooks: paper, claim, measured, bound, control, status."""
    from .lab.claims import collect
    from .lab.course import notebooks_folder

    with plainly():
        table = collect(folder or notebooks_folder())
    if as_json:
        print(table.to_json(orient="records", indent=1, force_ascii=False))
    else:
        shown = table[["notebook", "paper", "claim", "measured", "bound", "control", "status", "tier", "seconds"]]
        print(shown.to_string(index=False, max_colwidth=60) if len(table) else "no claims yet")


@app.command("map")
def course_map(
    write: Annotated[bool, typer.Option("--write", help="Renew the map and the claims in README.md.")] = False,
) -> None:
    """The map of the course as Markdown, made from the notebooks."""
    from .lab.course import markdown, notebooks_folder, readme
    from .lab.files import write_atomically

    with plainly():
        folder = notebooks_folder()
        if not write:
            print(markdown(folder))
            return
        path = folder.parent / "README.md"
        if not path.is_file():
            raise FileNotFoundError(f"there is no README.md beside {folder.name}/ to write the map into")
        write_atomically(path, readme(path.read_text(encoding="utf-8"), folder))
        print("README.md has the map and the claims of now")


@app.command()
def slides(
    notebook: Annotated[str, typer.Argument(help="A number (01), a name beginning or a path.")],
    out: Annotated[Path | None, typer.Option(help="Write here, not NN_topic.slides.html in this folder.")] = None,
) -> None:
    """Make a lecture of a notebook: one HTML file that needs no network. S opens the speaker's view."""
    from .lab.course import find
    from .lab.slides import write

    with plainly():
        path = find([notebook])[0]
        target, number = write(path, out)
        print(f"wrote {target.name}: {number} slides; open it in a browser, press S for the notes and ? for the keys")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab at notebooks/00_start_here.ipynb; further options go to JupyterLab."""
    from .lab.course import find, notebooks_folder

    with plainly():
        folder = notebooks_folder()
        (start,) = find(["00"], folder)
        if find_spec("jupyterlab") is None:
            raise ValueError("JupyterLab is not installed; `make lab` installs it, or: pip install jupyterlab")
    root = folder.parent if folder.name == "notebooks" else folder
    # in a container the user is often root, which JupyterLab refuses without this; it listens on this machine only
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", str(start.relative_to(root)), *as_root, *context.args]
    sys.exit(subprocess.run(command, cwd=root, check=False).returncode)


def join_seeds(arguments: list[str]) -> list[str]:
    """Let `--seeds 0 1 2` mean `--seeds 0,1,2`. Notebook numbers below 10 keep their zero ("04"), so they differ."""
    if "--seeds" not in arguments:
        return arguments
    first = arguments.index("--seeds") + 1
    last = first
    while last < len(arguments) and arguments[last].isdecimal() and str(int(arguments[last])) == arguments[last]:
        last += 1
    return [*arguments[:first], ",".join(arguments[first:last]), *arguments[last:]] if last > first else arguments


def main() -> None:
    """Entry point of `python -m canvaslab` and of the `canvaslab` command."""
    app(args=join_seeds(sys.argv[1:]), prog_name="canvaslab")


if __name__ == "__main__":
    main()
