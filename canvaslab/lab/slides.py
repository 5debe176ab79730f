"""A lecture from a notebook: one HTML file with reveal.js inside, which needs no network.

The cells' slideshow metadata decide: slide and subslide begin a slide, notes go to the speaker, skip is left out,
anything else goes on. Two things differ from the notebook. A slide that would be too full is continued on the next
one, and code that only draws a figure is left out where the figure is seen: what a lecture shows is the method.
"""

import re
import struct
from base64 import b64decode
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from . import stamp
from .files import write_atomically

REVEAL = stamp.PACKAGE / "assets" / "reveal"
ROOM = 25.0  # lines of text, at their full size, that a slide of 1280 x 720 holds
CROWDED = 1.35  # how much fuller than that a slide may be: its letters shrink to 1 / 1.35
SHOWING = re.compile(r"^(fig, ?\w+ = plots\.figure\(|(\w+ = )?explore\(|claim\(|def \w+\(fig\b)", re.MULTILINE)
BAR = re.compile(r"\d+%\|")  # a bar of progress that has ended tells a listener nothing
SETUP = re.compile(r"^try:\n    import canvaslab\b")


@dataclass
class Part:
    """A piece of a slide: its HTML and about how many lines of text it takes."""

    html: str
    lines: float


@dataclass
class Slide:
    """`heading`: what a continued slide repeats; `parts` from top to bottom; `notes` for the speaker."""

    heading: str = ""
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def full_with(self, part: Part) -> bool:
        return bool(self.parts) and sum(p.lines for p in self.parts) + part.lines > ROOM * CROWDED


def slides(nb: Any) -> list[list[Slide]]:
    """The slides of a notebook: a list of columns, each a slide and its subslides."""
    columns: list[list[Slide]] = []
    for cell in nb.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "skip":
            continue
        if kind == "slide" or not columns:
            columns.append([Slide()])
        elif kind == "subslide":
            columns[-1].append(Slide(columns[-1][-1].heading))
        if kind == "notes":
            columns[-1][-1].notes.append(_markdown(cell.source))
            continue
        for part in _parts(cell):
            _add(columns[-1], part)
        if code := cell.cell_type == "code" and _left_out(cell):
            columns[-1][-1].notes.append(_highlight(code))
    return [column for column in ([s for s in column if s.parts] for column in columns) if column]


def _add(column: list[Slide], part: Part) -> None:
    """Put a part on the column's last slide, or on a new one below, under the same heading, if it is full."""
    if column[-1].full_with(part):
        column.append(Slide(column[-1].heading, [Part(f"<h3>{column[-1].heading}</h3>", 1.6)]))
    column[-1].parts.append(part)
    if heading := re.search(r"<h[12]>(.*?)</h[12]>", part.html):
        column[-1].heading = re.sub(r"<.*?>", "", heading[1])


def _parts(cell: Any) -> list[Part]:
    if cell.cell_type == "markdown":
        text = "\n".join(line for line in cell.source.splitlines() if "badge" not in line)
        return [Part(f"<div>{_markdown(text)}</div>", _lines(text))]
    code, figures, others = _shown_code(cell), [], []
    for output in cell.outputs:
        part = _output(output)
        (figures if "<img" in part.html else others).append(part)
    code = re.sub(r"\n{3,}", "\n\n", code)
    shown = [Part(_highlight(code), 0.72 * (code.count("\n") + 2))] if code else []
    return [*shown, *(part for part in others if part.html), *figures]


def _shown_code(cell: Any) -> str:
    """A cell's code without the imports, and without what only shows the figure or the claim below it."""
    if SETUP.search(cell.source):
        return ""
    showing = SHOWING.search(cell.source)
    return (cell.source[: showing.start()] if showing else cell.source).rstrip()


def _left_out(cell: Any) -> str:
    return cell.source[len(_shown_code(cell)) :].strip() if not SETUP.search(cell.source) else ""


def _output(output: Any) -> Part:
    if output.output_type == "stream":
        text = output.text.rstrip()
        return Part(f'<pre class="out">{escape(text)}</pre>', 0.72 * (text.count("\n") + 2))
    data = output.get("data", {})
    if "image/png" in data:
        return _figure(data["image/png"], output.metadata.get("alt", ""))
    if "text/html" in data:
        html = data["text/html"]
        return Part(f"<div>{html}</div>", 1.2 * html.count("<tr") + 2.2)
    text = "" if BAR.search(data.get("text/plain", "")) else data.get("text/plain", "")
    return Part(f'<pre class="out">{escape(text)}</pre>' if text else "", 0.72 * (text.count("\n") + 2))


def _figure(png: str, alt: str) -> Part:
    png = png.replace("\n", "")
    width, height = struct.unpack(">II", b64decode(png[:64])[16:24])
    image = f'<img alt="{escape(alt)}" width="{width}" src="data:image/png;base64,{png}">'
    tall = min(height * min(1, 1200 / width), 600)
    return Part(f"<figure>{image}</figure>", tall / 29)


def _lines(markdown: str) -> float:
    """About how many lines of 100 letters a text takes on a slide."""
    count = 0.0
    for block in re.split(r"\n\s*\n", re.sub(r"<!--.*?-->", "", markdown).strip()):
        if block.startswith("#"):
            count += 2
        elif block.startswith(("|", "* ", "- ", "1. ")):
            count += sum(1 + len(line) // 100 for line in block.splitlines())
        else:
            count += 2.2 if "$$" in block else 0.4 + -(-len(block) // 100)
    return count


@cache
def _maths(latex: str, block: bool) -> str:
    """LaTeX as MathML, which browsers draw by themselves."""
    from latex2mathml.converter import convert

    return convert(latex.strip(), display="block" if block else "inline")


def _markdown(text: str) -> str:
    """Markdown with maths as HTML. The maths are taken out first, so that Markdown does not see their underscores."""
    from nbconvert.filters import markdown2html

    kept: list[str] = []

    def keep(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        kept.append(_maths(match["block"] or match["inline"], match["block"] is not None))
        return f"MATHS{len(kept) - 1}KEPT"

    pattern = r"(?P<code>```.*?```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$\s][^$]*?)\$(?!\d)"
    html = markdown2html(re.sub(pattern, keep, text, flags=re.DOTALL))
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html)
    html = re.sub(r'(<h\d) id="[^"]*"', r"\1", html)
    return re.sub(r"MATHS(\d+)KEPT", lambda match: kept[int(match[1])], html)


def _highlight(code: str) -> str:
    from nbconvert.filters import Highlight2HTML

    return Highlight2HTML(pygments_lexer="python")(code)


def page(nb: Any) -> str:
    """The lecture as one HTML page."""
    title = nb.metadata.get("canvaslab", {}).get("title", "Slides")
    body = "\n".join(_column(column) for column in slides(nb))
    read = {name: (REVEAL / name).read_text(encoding="utf-8") for name in _FILES}
    scripts = "".join(f"<script>{read[name]}</script>\n" for name in _FILES if name.endswith(".js"))
    styles = "".join(f"<style>{read[name]}</style>\n" for name in _FILES if name.endswith(".css"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>\n{styles}</head>\n"
        f'<body><div class="reveal"><div class="slides">\n{body}\n</div></div>\n{scripts}</body></html>\n'
    )


_FILES = ("reveal.css", "lecture.css", "reveal.js", "notes.js", "lecture.js")


def _column(column: list[Slide]) -> str:
    sections = [
        f'<section><div class="fit">{"".join(part.html for part in slide.parts)}</div>'
        + (f'<aside class="notes">{"".join(slide.notes)}</aside>' if slide.notes else "")
        + "</section>"
        for slide in column
    ]
    return sections[0] if len(sections) == 1 else f"<section>{''.join(sections)}</section>"


def write(notebook: str | Path, out: str | Path | None = None) -> tuple[Path, int]:
    """Write the lecture of a notebook: (the file, how many slides). `out`: default NN_topic.slides.html, here.

    FileNotFoundError if there is no such notebook; ValueError if it has no outputs to show.
    """
    import nbformat

    path = Path(notebook)
    nb = nbformat.read(path, as_version=4)
    if not any(cell.get("outputs") for cell in nb.cells):
        raise ValueError(f"{path.name} has no outputs to show: run it first, `python -m canvaslab run {path.name[:2]}`")
    target = Path(out) if out is not None else Path.cwd() / f"{path.stem}.slides.html"
    write_atomically(target, page(nb))
    return target, sum(map(len, slides(nb)))
