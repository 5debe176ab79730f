"""The map of the course, made from the notebooks' own metadata and stamps."""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from . import stamp
from .papers import PAPERS
from .papers import paper as find_paper

FIELDS = ("number", "title", "summary", "part", "reads_first", "papers")


def notebooks_folder() -> Path:
    """The folder of the course: ./notebooks, or this folder, or the one beside the installed package.

    FileNotFoundError if none of them holds a notebook.
    """
    places = [Path.cwd() / "notebooks", Path.cwd(), stamp.PACKAGE.parent / "notebooks"]
    for place in places:
        if any(place.glob("[0-9][0-9]_*.ipynb")):
            return place
    raise FileNotFoundError(
        "no notebooks (NN_topic.ipynb) in ./notebooks, in this folder or beside the installed package; "
        "go to a clone of the repository and try again"
    )


def find(names: list[str], folder: Path | None = None) -> list[Path]:
    """The notebooks meant by `names`: numbers ("4" or "04"), name beginnings, paths, or "all".

    FileNotFoundError with the list of notebooks for anything else.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.suffix == ".ipynb" and path.is_file():
            hits = [path.resolve()]
        else:
            folder = folder or notebooks_folder()
            there = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
            start = f"{int(name):02d}_" if name.isdecimal() else name
            hits = there if name == "all" else [p for p in there if p.name.startswith(start)]
            if len(hits) != 1 and name != "all":
                said = "is no notebook" if not hits else "could be several notebooks"
                listed = ", ".join(p.stem for p in there) or "none"
                raise FileNotFoundError(f"{name!r} {said}; there are: {listed} (or give a path, or all)")
        found += [p for p in hits if p not in found]
    return found


@dataclass(frozen=True)
class Course:
    """`table` is a pandas DataFrame with one row a notebook; in a notebook the map shows with links."""

    table: Any

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(row) for row in self.table.to_dict("records"))
        heads = "".join(f"<th>{head}</th>" for head in ("", "notebook", "what for", "read first", "time and memory"))
        return f"<table><tr>{heads}</tr>{rows}</table>"

    def __repr__(self) -> str:
        return self.table[["number", "title", "cost"]].to_string(index=False)


def _html_row(row: dict) -> str:
    link = f'<a href="{escape(row["file"])}">{escape(row["title"])}</a>'
    cells = [row["number"], link, *(escape(row[key]) for key in ("summary", "reads_first", "cost"))]
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


def course(folder: str | Path | None = None) -> Course:
    """The map of the course: every notebook's number, title, summary, what to read first, papers, cost per tier.

    Read from `nb.metadata["canvaslab"]`; ValueError names the notebook where something is missing.
    """
    import nbformat
    import pandas as pd

    folder = Path(folder) if folder is not None else notebooks_folder()
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    rows = [_row(path, nbformat.read(path, as_version=4)) for path in paths]
    return Course(pd.DataFrame(rows, columns=[*FIELDS, "file", "cost"]))


def _row(path: Path, nb: Any) -> dict:
    about = nb["metadata"].get("canvaslab", {})
    missing = [key for key in FIELDS if key not in about]
    if missing:
        raise ValueError(f"{path.name}: metadata 'canvaslab' lacks {', '.join(missing)}; it needs {', '.join(FIELDS)}")
    if f"{int(about['number']):02d}" != path.name[:2]:
        raise ValueError(f"{path.name}: its metadata give the number {about['number']!r}; file and metadata must agree")
    for key in about["papers"]:
        find_paper(key)
    return {
        **{key: about[key] for key in FIELDS},
        "number": path.name[:2],
        "reads_first": ", ".join(f"{int(n):02d}" for n in about["reads_first"]),
        "file": path.name,
        "cost": cost(about),
    }


def cost(about: dict) -> str:
    """For example "smoke 31 s, laptop 3.4 min, 900 MB": wall time of each measured tier, and the largest memory."""
    times = about.get("times", {})
    parts = [f"{tier} {_duration(times[tier]['wall_seconds'])}" for tier in ("smoke", "laptop", "gpu") if tier in times]
    if parts:
        parts.append(f"{max(t['peak_memory_mb'] for t in times.values()):.0f} MB")
    return ", ".join(parts) or "not measured"


def note_cost(nb: Any) -> None:
    """Write what a notebook costs between the markers `<!-- cost -->` and `<!-- /cost -->` of its first cell."""
    about, first = nb["metadata"].get("canvaslab", {}), nb["cells"][0]
    device = about.get("stamp", {}).get("device", "")
    told = f"<!-- cost -->{cost(about)}; last run on {device}.<!-- /cost -->"
    first["source"] = re.sub(r"<!-- cost -->.*?<!-- /cost -->", lambda _: told, first["source"], flags=re.DOTALL)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def markdown(folder: str | Path | None = None) -> str:
    """The map as a Markdown table for README, with links from the repository's root."""
    lines = ["| | notebook | what for | read first | papers | time and memory |", "|---|---|---|---|---|---|"]
    for row in course(folder).table.to_dict("records"):
        papers = ", ".join(f"[{PAPERS[key].citation}]({PAPERS[key].url})" for key in row["papers"])
        cells = [row["number"], f"[{_cell(row['title'])}](notebooks/{row['file']})", _cell(row["summary"])]
        lines.append(f"| {' | '.join([*cells, row['reads_first'], papers, row['cost']])} |")
    return "\n".join(lines)


def claims_markdown(folder: str | Path | None = None) -> str:
    """The claims of the committed notebooks as a Markdown table for README."""
    from .claims import collect, number

    lines = ["| | claim | measured | wanted | control | paper | result |", "|---|---|---|---|---|---|---|"]
    for row in collect(folder if folder is not None else notebooks_folder()).to_dict("records"):
        measured = number(row["measured"])
        if isinstance(row["interval"], tuple):
            measured += f" ({number(row['interval'][0])} to {number(row['interval'][1])})"
        source = row["paper"] if isinstance(row["paper"], str) else ""  # pandas turns a missing paper into NaN
        source = PAPERS[source].citation if source in PAPERS else source
        source += f": {row['headline']}" if isinstance(row["headline"], str) else ""
        cells = [row["notebook"][:2], row["claim"], measured, row["bound"], row["control"], source]
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} | {row['status']}, {row['tier']} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def readme(text: str, folder: str | Path | None = None) -> str:
    """README's text with the map and the claims renewed between their markers; ValueError if a marker is missing."""
    for name, make in (("map", markdown), ("claims", claims_markdown)):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"README needs the lines {begin} and {end} once each, in this order")
        block = f"{begin}\n{make(folder)}\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)
    return text
