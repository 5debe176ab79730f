"""Sources of the site from the repository: `python docs/pages.py FOLDER`. Notebooks, their map, papers, the library."""

import inspect
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "diffusion": "Noise, denoisers, samplers, guidance, exact mixtures, diffusers both ways.",
    "nets": "Networks for points and images, and the classifiers that judge samples.",
    "data": "Data sets with the meaning of each axis, and batches that depend on seed and step only.",
    "science": "Measurements on any denoiser or module.",
    "lab": "Tiers, training, claims, metrics, plots, widgets, exercises, stamps.",
}
CONTENTS = "```{toctree}\n:maxdepth: 1\n:caption: %s\n\n%s\n```\n"


def index(folder: Path) -> str:
    """The front page: the map of the course."""
    from canvaslab.lab import course

    numbered = sorted(path.stem for path in folder.glob("[0-9][0-9]_*.ipynb"))
    notebooks = CONTENTS % ("The course", "\n".join(f"notebooks/{name}" for name in numbered))
    library = CONTENTS % ("The library", "\n".join(["reading", *(f"api/{room}" for room in ROOMS)]))
    about = (
        "A laboratory in notebooks for generative models and the science of deep learning. Each notebook takes one "
        "idea, builds it in the open, runs an experiment, and ends in claims: measured numbers held against the paper "
        "that made the claim, each with a control that must fail. What you see here was made by running them."
    )
    return f"# canvaslab\n\n{about}\n\n## The notebooks\n\n{course.markdown(folder)}\n\n{notebooks}\n{library}"


def reading(folder: Path) -> str:
    """The reading list: every paper that a notebook names, with the claims held against it and what was measured."""
    from canvaslab.lab import claims, course
    from canvaslab.lab.papers import PAPERS

    found = claims.collect(folder).to_dict("records")
    named = course.course(folder).table.to_dict("records")
    lines = ["# Reading list", "", "The papers behind the course, oldest first, and what was measured of each."]
    for key, paper in sorted(PAPERS.items(), key=lambda item: item[1].year):
        users = [row for row in named if key in row["papers"]]
        read_in = [f"[{row['number']} {row['title']}](notebooks/{row['file']})" for row in users]
        mine = [row for row in found if row["paper"] == key]
        if read_in or mine:
            lines += ["", f"## {paper.citation}", "", f"[{paper.url}]({paper.url})", ""]
            lines += ["Used in " + ", ".join(read_in), ""] if read_in else []
            lines += [f"* {_claim(row)}" for row in mine]
    return "\n".join(lines) + "\n"


def _claim(row: dict) -> str:
    from canvaslab.lab.claims import number

    said = f" The paper: {row['headline']}." if isinstance(row["headline"], str) else ""
    shown = f"measured {number(row['measured'])}, wanted {row['bound']}; control: {row['control']}"
    text = f"**{row['status']}** {row['claim']}: {shown} ({row['tier']} tier)."
    return _plain(text + said) + f" [Notebook {row['notebook'][:2]}](notebooks/{row['notebook']}.ipynb)"


def _plain(text: str) -> str:
    return text.replace("$", r"\$").replace("_", r"\_").replace("<", "&lt;")


def api(room: str) -> str:
    """One page of the library: modules, and their public functions and classes with signature and docstring."""
    package = import_module(f"canvaslab.{room}")
    parts = [f"# canvaslab.{room}", "", ROOMS[room]]
    for path in sorted(Path(package.__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"canvaslab.{room}.{path.stem}")
        parts += ["", f"## {path.stem}", "", _fenced(inspect.getdoc(module) or "", "text")]
        for name, what in vars(module).items():
            mine = getattr(what, "__module__", None) == module.__name__ and not name.startswith("_")
            if mine and (inspect.isfunction(what) or inspect.isclass(what)) and inspect.getdoc(what):
                parts += ["", f"### {name}", "", _fenced(_signature(name, what), "python")]
                parts += ["", _fenced(inspect.getdoc(what), "text")]
    return "\n".join(parts) + "\n"


def _signature(name: str, what: object) -> str:
    try:
        arguments = [str(p) for p in inspect.signature(what).parameters.values()]
    except ValueError:
        return name
    line = f"{name}({', '.join(arguments)})"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _fenced(text: str, language: str) -> str:
    return f"`````{language}\n{text}\n`````"


def copy_notebook(path: Path, target: Path) -> None:
    """The notebook as committed, without data for programs, with text alternatives where the builder looks for them."""
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "markdown":  # badges are pictures from elsewhere: their words lead there as well
            cell.source = re.sub(r"\[!\[([^]]*)\]\(https?://[^)]*\)\]\(", r"[\1](", cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("application/vnd.canvaslab.")]:
                del data[kind]
            if "text/html" in data:  # the map of the course links to notebooks; here they are pages
                data["text/html"] = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', data["text/html"])
            if "image/png" in data and output.metadata.get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": output.metadata["alt"]}}
    nb.metadata.setdefault("language_info", {})["pygments_lexer"] = "ipython3"
    nbformat.write(nb, target)


def write(target: Path, root: Path = ROOT) -> None:
    """Write all sources of the site into `target`, afresh."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "notebooks").mkdir(parents=True)
    (target / "api").mkdir()
    (target / "index.md").write_text(index(root / "notebooks"), encoding="utf-8")
    (target / "reading.md").write_text(reading(root / "notebooks"), encoding="utf-8")
    for room in ROOMS:
        (target / "api" / f"{room}.md").write_text(api(room), encoding="utf-8")
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        copy_notebook(path, target / "notebooks" / path.name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
