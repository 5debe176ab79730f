"""The map of the course is made from the notebooks, and README holds the map of now."""

import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest

from canvaslab.lab import claims, course, stamp

ROOT = Path(__file__).resolve().parents[1]
MARKERS = "a\n<!-- map:begin -->\nold\n<!-- map:end -->\nb\n<!-- claims:begin --><!-- claims:end -->\nc\n"


def write(folder, number, title="A | title", **change):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    about = {
        "number": number, "title": title, "summary": "What\nfor.", "part": "p", "reads_first": [0], "papers": ["edm"],
    }  # fmt: skip
    nb.metadata["canvaslab"] = {**about, **change}
    used = {"tier": "laptop", "seed": 0, "device": "chip", "cpu_seconds": 3.0, "peak_memory_mb": 700}
    stamp.stamp(nb, used, wall_seconds=200, tier="laptop")
    path = folder / f"{int(number):02d}_x.ipynb"
    nbformat.write(nb, path)
    return path


def test_the_map_says_what_the_notebooks_say(tmp_path):
    write(tmp_path, 3)
    write(tmp_path, 1, "First")
    made = course.course(tmp_path)
    assert list(made.table.number) == ["01", "03"]
    assert list(made.table.cost) == ["laptop 3.3 min, 700 MB"] * 2
    assert '<a href="01_x.ipynb">First</a>' in made._repr_html_()
    lines = course.markdown(tmp_path).splitlines()
    assert len(lines) == 4
    assert "[First](notebooks/01_x.ipynb)" in lines[2]
    assert "[Karras et al. 2022](https://arxiv.org/abs/2206.00364)" in lines[2]
    assert r"A \| title" in lines[3], "a bar in a title must not break the table"
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert len(columns) == 1


def test_readme_changes_between_its_markers_only_and_twice_is_once(tmp_path):
    write(tmp_path, 1)
    new = course.readme(MARKERS, tmp_path)
    assert new.startswith("a\n<!-- map:begin -->\n|") and new.endswith("<!-- claims:end -->\nc\n")
    assert "old" not in new and "\nb\n" in new
    assert course.readme(new, tmp_path) == new


@pytest.mark.parametrize("text", ["", MARKERS + MARKERS, MARKERS.replace("claims:end", "claims:stop")])
def test_readme_without_its_markers_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="begin -->"):
        course.readme(text, tmp_path)


def test_the_claims_table_keeps_numbers_intervals_and_bars(tmp_path):
    path = write(tmp_path, 1)
    nb = nbformat.read(path, as_version=4)
    record = {
        "claim": "a | b", "paper": "edm", "headline": "1.79", "unit": "", "tier": "laptop", "from_tier": "smoke",
        "measured": {"mean": 0.5, "interval": [0.4, 0.6], "values": [0.45, 0.55]}, "status": "PASS",
        "bound": {"kind": "at_most", "limits": [1.0]},
        "controls": [{"name": "none", "mean": 2.0, "interval": None, "values": [2.0], "meets": False}],
    }  # fmt: skip
    output = nbformat.v4.new_output("display_data", data={claims.MIMETYPE: record, "text/plain": "x"})
    nb.cells[0].outputs = [output]
    nbformat.write(nb, path)
    line = course.claims_markdown(tmp_path).splitlines()[2]
    for part in (r"a \| b", "0.5 (0.4 to 0.6)", "at most 1", "none 2", "Karras et al. 2022: 1.79", "PASS, laptop"):
        assert part in line


def test_a_claim_without_a_paper_is_listed_beside_one_with(tmp_path):
    test_the_claims_table_keeps_numbers_intervals_and_bars(tmp_path)
    path = next(tmp_path.glob("*.ipynb"))
    nb = nbformat.read(path, as_version=4)
    own = deepcopy(nb.cells[0].outputs[0])
    own["data"][claims.MIMETYPE].update(claim="ours alone", paper=None, headline=None)
    nb.cells[0].outputs.append(own)
    nbformat.write(nb, path)
    assert "| ours alone | 0.5 (0.4 to 0.6) | at most 1 | none 2 |  | PASS" in course.claims_markdown(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"), [({"papers": ["edn"]}, "'edm'"), ({"number": 7}, "must agree")]
)  # fmt: skip
def test_metadata_that_cannot_be_right_are_named(tmp_path, change, says):
    path = write(tmp_path, 1)
    nb = nbformat.read(path, as_version=4)
    nb.metadata["canvaslab"].update(change)
    nbformat.write(nb, path)
    with pytest.raises(ValueError, match=says):
        course.course(tmp_path)


def test_missing_metadata_name_the_notebook_and_the_field(tmp_path):
    path = write(tmp_path, 1)
    nb = nbformat.read(path, as_version=4)
    del nb.metadata["canvaslab"]["summary"]
    nbformat.write(nb, path)
    with pytest.raises(ValueError, match=r"01_x.ipynb.*summary"):
        course.course(tmp_path)


def test_the_readme_of_this_repository_is_up_to_date():
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "<!-- map:begin -->" not in text:
        pytest.skip("README.md has no map yet")
    assert text == course.readme(text, ROOT / "notebooks"), "renew it: python -m canvaslab map --write"


def test_the_map_that_newcomers_see_first_has_every_notebook():
    """Its costs are those of its run; a notebook that was added or renamed since is what must not happen."""
    path, *_ = sorted((ROOT / "notebooks").glob("00_*.ipynb"))
    shown = [
        output["data"].get("text/html", "")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and "course.course()" in cell.source
        for output in cell.outputs
        if "data" in output
    ]
    linked = set(re.findall(r"[\w-]+\.ipynb", "".join(shown)))
    assert linked == {p.name for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}, "run it again: canvaslab run 00"
