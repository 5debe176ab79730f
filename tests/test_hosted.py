"""Hosted notebooks: badges lead to this very file, and the setup cell installs only where the package is missing."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
BADGE = re.compile(r"\[!\[Open in (\w+)\]\((\S+?)\)\]\((\S+?)\)")
HOME = "canvaslab/canvaslab"

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def badges(path):
    found = BADGE.findall(cells(path, "markdown")[0])
    return {name: (urlsplit(image), urlsplit(target)) for name, image, target in found}


def in_tree(tail, prefix):
    """The file of the repository that an address ends in."""
    assert tail.startswith(prefix), tail
    return ROOT / tail.removeprefix(prefix)


def test_both_badges_lead_to_this_notebook(path):
    found = badges(path)
    assert set(found) == {"Colab", "Binder"}
    image, colab = found["Colab"]
    assert (image.netloc, colab.netloc) == ("colab.research.google.com",) * 2
    assert in_tree(colab.path, f"/github/{HOME}/blob/main/") == path
    image, binder = found["Binder"]
    assert (image.netloc, binder.netloc, binder.path) == ("mybinder.org", "mybinder.org", f"/v2/gh/{HOME}/main")
    assert in_tree(parse_qs(binder.query)["urlpath"][0], "lab/tree/") == path


def test_no_badge_anywhere_else_and_links_to_notebooks_lead_to_some(path):
    first, *others = cells(path, "markdown")
    assert not any("badge" in source for source in others)
    for source in (first, *others):
        for target in re.findall(r"\]\(([^)\s]+\.ipynb)(?:#[^)]*)?\)", source):
            assert "://" in target or (path.parent / target).is_file(), target


def test_what_binder_needs_is_there(path):
    assert (ROOT / "environment.yml").is_file()
    assert "jupyterlab" in (ROOT / "pyproject.toml").read_text()


class Installer:
    """Stands for the notebook's %pip: after it the package is there."""

    def __init__(self):
        self.asked = []

    def __call__(self, line):
        self.asked.append(line)


def setup(path):
    """The first statement of the first code cell, with %pip as a call."""
    source = re.sub(r"^(\s*)%pip (.*)$", r"\1pip(r'''\2''')", cells(path, "code")[0], flags=re.M)
    tree = ast.parse(source)
    return compile(ast.Module(tree.body[:1], []), "setup", "exec")


def test_the_setup_cell_installs_where_the_package_is_missing_only_and_works_twice(path, monkeypatch):
    installer = Installer()
    for _ in range(2):
        exec(setup(path), {"pip": installer})
    assert not installer.asked
    monkeypatch.setitem(sys.modules, "canvaslab", None)  # an import of it now fails
    exec(setup(path), {"pip": installer})
    assert installer.asked == [f'install -q "canvaslab @ git+https://github.com/{HOME}"']


def test_only_the_setup_cell_installs_and_it_is_at_most_15_lines(path):
    first, *others = cells(path, "code")
    assert not any(re.search(r"^\s*[%!]\s*(pip|conda|apt)", source, re.M) for source in others)
    assert len([line for line in first.splitlines() if line.strip()]) <= 15


def test_headings_are_in_order_one_title_and_no_level_left_out(path):
    text = "\n".join(re.sub(r"```.*?```", "", source, flags=re.S) for source in cells(path, "markdown"))
    levels = [len(marks) for marks in re.findall(r"^(#{1,6}) ", text, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_headings_and_links_say_where_they_lead(path):
    for source in cells(path, "markdown"):
        for said in re.findall(r"(?<!\!)\[([^\]!\[]+)\]\(\S+\)", source):
            assert said.strip().lower() not in ("here", "this", "link", "click here"), said
