"""Lectures: offline, 15 to 25 slides, nothing runs over the edge, figures and letters large enough, notes beside."""

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from test_browser import browser  # noqa: F401

from canvaslab.lab import slides

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
STATE = """() => {
    const section = Reveal.getCurrentSlide(), box = section.querySelector('.fit');
    const out = [...box.querySelectorAll('*')].filter(e => {
        const r = e.getBoundingClientRect();
        return r.width > 0 && (r.right > 1281 || r.bottom > 721 || r.left < -1 || r.top < -1);
    }).map(e => e.tagName + ': ' + e.textContent.slice(0, 60));
    const texts = [...box.querySelectorAll('p, li, pre, td, th, h1, h2, h3')];
    const px = texts.map(e => parseFloat(getComputedStyle(e).fontSize));
    const figures = [...box.querySelectorAll('figure img')];
    return {
        out, empty: box.textContent.trim() === '' && figures.length === 0,
        over: box.scrollWidth > 1200 || box.scrollHeight > 672,
        letters: Math.min(100, ...px),
        pictures: figures.map(i => ({loaded: i.naturalWidth, scale: i.getBoundingClientRect().width / i.naturalWidth})),
        head: (box.querySelector('h1, h2, h3') || box).textContent.slice(0, 50), last: Reveal.isLastSlide(),
    };
}"""


def notebook(*cells):
    made = nbformat.v4.new_notebook()
    for kind, slide, source in cells:
        new = nbformat.v4.new_markdown_cell if kind == "md" else nbformat.v4.new_code_cell
        made.cells.append(new(source, metadata={"slideshow": {"slide_type": slide}}))
    return made


def read(path):
    """A committed notebook with its outputs, or a skip while it has none."""
    nb = nbformat.read(path, as_version=4)
    if not any(cell.get("outputs") for cell in nb.cells):
        pytest.skip(f"{path.name} has no outputs yet")
    return nb


def test_the_metadata_decide_what_is_a_slide():
    nb = notebook(("md", "slide", "# A"), ("md", "-", "more"), ("md", "notes", "say *this*"),
                  ("md", "skip", "left out"),
                  ("md", "subslide", "below"), ("code", "slide", "x = 1"))  # fmt: skip
    first, second = slides.slides(nb)
    assert [len(first), len(second)] == [2, 1]
    assert len(first[0].parts) == 2 and "<em>this</em>" in first[0].notes[0]
    assert "left out" not in slides.page(nb).partition("<body>")[2].partition("<script>")[0]


def test_what_is_too_much_for_one_slide_goes_on_under_the_same_heading():
    long = "\n\n".join(["A paragraph of some words, which takes a line or so on the slide."] * 15)
    (column,) = slides.slides(notebook(("md", "slide", "# Title"), ("md", "-", long), ("md", "-", long)))
    assert len(column) == 2
    assert "Title" in column[1].parts[0].html


def test_maths_are_drawn_by_the_browser_itself_and_code_is_left_alone():
    html = slides._markdown("Inline $a_1 * b_2 * c$, code `$x$` and\n\n$$\\nabla_x p = \\frac{D - x}{\\sigma^2}$$")
    soup = BeautifulSoup(html, "html.parser")
    assert [m.get("display") for m in soup.find_all("math")] == ["inline", "block"]
    assert soup.code.text == "$x$" and "$" not in soup.get_text().replace("$x$", "")
    assert not soup.find("em")


def test_code_that_only_draws_goes_to_the_notes():
    nb = notebook(("code", "slide", "y = 2\nfig, ax = plots.figure()\nplots.show(fig, alt='a b c')"))
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    nb.cells[0].outputs = [nbformat.v4.new_output("display_data", data={"image/png": png}, metadata={"alt": "a b c"})]
    ((slide,),) = slides.slides(nb)
    shown = "".join(part.html for part in slide.parts)
    assert "plots" not in shown and 'alt="a b c"' in shown
    assert "plots" in slide.notes[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lecture_needs_no_network_and_has_15_to_25_slides_with_notes(path):
    nb = read(path)
    html = slides.page(nb)
    body = BeautifulSoup(html, "html.parser").select_one(".slides")
    loaded = [tag.get("src", "") for tag in BeautifulSoup(html, "html.parser").find_all(["img", "script", "iframe"])]
    assert all(source == "" or source.startswith("data:") for source in loaded)
    assert not re.search(r"<link\b|@import|url\(['\"]?http", html)
    assert 15 <= sum(map(len, slides.slides(nb))) <= 25
    assert body.select("aside.notes")
    assert all(len(image["alt"].split()) >= 3 for image in body.select("img"))
    assert "$" not in "".join(p.get_text() for p in body.select(".fit p"))


@pytest.mark.browser
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_fits_1280_by_720_and_can_be_read(browser, path, tmp_path):  # noqa: F811
    read(path)
    target, number = slides.write(path, tmp_path / "lecture.html")
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    outside, broken = [], []
    page.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(target.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    seen, blank = 0, None
    while True:
        seen += 1
        state = page.evaluate(STATE)
        picture = page.screenshot(path=tmp_path / f"{seen:02d}.png")
        where = f"slide {seen} ({state['head']!r}), see {tmp_path}"
        assert not state["out"] and not state["over"], f"{where} runs over: {state['out'][:3]}"
        assert not state["empty"] and picture != blank, f"{where} is empty or repeats the one before"
        assert state["letters"] >= 11, f"{where} has letters of {state['letters']} pixels"
        for shown in state["pictures"]:
            assert shown["loaded"] and shown["scale"] >= 0.55, f"{where}: a figure at {shown['scale']:.2f} of its size"
        if state["last"]:
            break
        blank = picture
        page.evaluate("Reveal.next()")
    page.close()
    assert seen == number
    assert not outside and not broken
