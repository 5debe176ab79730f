"""The site builds without a warning or a network, and every link in it leads somewhere."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme")

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, NEEDED)), reason="the site's builder is not installed: pip install 'canvaslab[site]'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """{file: parsed page} of the whole site, built anew with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    sources, built = folder / "source", folder / "html"
    build = ["-m", "sphinx", "-W", "-q", "-b", "html", "-c", "docs", sources, built]
    for command in (["docs/pages.py", sources], build):
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "WARNING" not in done.stderr
    pages = [path for path in built.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in pages}


def test_every_link_and_picture_leads_somewhere(site):
    ids = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in site.items()}
    dead = []
    for path, page in site.items():
        for tag in page.select("a[href], img[src], script[src], link[href]"):
            address = urlsplit(tag.get("href") or tag.get("src"))
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            found = target.is_file() and (not address.fragment or target.suffix != ".html"
                                          or unquote(address.fragment) in ids.get(target, {""}))  # fmt: skip
            if not found and not (not address.path and address.fragment in ("", "pst-skip-link")):
                dead.append(f"{path.name}: {address.geturl()}")
    assert not dead, sorted(set(dead))


def test_it_needs_no_network(site):
    for path, page in site.items():
        for tag in page.select("script[src], img[src], link[rel=stylesheet], iframe[src]"):
            assert not urlsplit(tag.get("src") or tag.get("href")).netloc, f"{path.name}: {tag}"
        text = "".join(p.get_text() for p in page.select("article p"))
        assert "\\(" not in text and "$$" not in text, f"{path.name} has maths that nothing draws"


def test_every_notebook_paper_and_room_has_its_page_and_search_finds_them(site):
    names = {path.stem for path in site}
    for notebook in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert notebook.stem in names
    assert {"index", "reading", "search", "diffusion", "nets", "data", "lab"} <= names
    root = next(path.parent for path in site if path.name == "search.html")
    index = (root / "searchindex.js").read_text(encoding="utf-8")
    assert "karra" in index and "denoiser" in index.lower()


def test_the_pictures_of_the_notebooks_are_there_with_their_alternatives(site):
    for path, page in site.items():
        if path.parent.name == "notebooks":
            pictures = page.select(".cell_output img")
            assert all(len(image.get("alt", "").split()) >= 3 for image in pictures), path.name


def test_the_reading_list_holds_the_claims(site):
    from canvaslab.lab import claims

    page = next(page for path, page in site.items() if path.name == "reading.html")
    text = " ".join(page.get_text().split())
    for row in claims.collect(ROOT / "notebooks").to_dict("records"):
        if isinstance(row["paper"], str):
            assert " ".join(row["claim"].split())[:40] in text
