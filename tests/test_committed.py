"""Every committed notebook: what a reader sees was made by what a reader sees, and is fit to be seen."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from canvaslab.lab import claims, course, stamp
from canvaslab.lab.results import RESULTS
from canvaslab.lab.stage import SECONDS

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
PLACES = re.compile(r"(?<![\w.])(/(work|home|root|tmp|Users|mnt|opt)/|[A-Z]:\\Users)")
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(nb):
    return [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]


def words(output):
    """All that an output says in text; pictures are not text."""
    data = {k: v for k, v in output.get("data", {}).items() if k not in PICTURES}
    said = [output.get("text", ""), *(v if isinstance(v, str) else json.dumps(v) for v in data.values())]
    return re.sub(r"data:image/\w+;base64,[\w+/=]+", "", "\n".join(said))


def test_its_outputs_were_made_by_its_code(path):
    assert stamp.check(read(path)) is None


def test_it_was_executed_from_top_to_bottom(path):
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code)


def test_on_stage_no_cell_lets_an_audience_wait(path):
    """A cell that took longer than the stage's limit loads what ships; times are those of the stamped run."""
    nb = read(path)
    sources = {cell.id: cell.source for cell in nb.cells}
    for cell, seconds in stamp.read(nb)["slow_cells"].items():
        assert seconds <= SECONDS or re.search(r"\bshipped\(|\bship=", sources[cell]), (seconds, sources[cell])


def test_what_it_loads_on_stage_was_made_by_its_code(path):
    made = stamp.read(read(path))
    for name, code in made["shipped"].items():
        about = json.loads((RESULTS / f"{name}.json").read_text())
        again = f"CANVASLAB_SHIP=1 python -m canvaslab run {path.name[:2]}"
        assert (about["code"], about["tier"]) == (code, made["tier"]), f"{name} is older than the notebook: {again}"


def test_no_error_and_nothing_on_stderr(path):
    for output in outputs(read(path)):
        assert output.output_type != "error", "".join(output.traceback)
        assert output.get("name") != "stderr", output.text


def test_no_output_is_a_warning_or_a_stray_object(path):
    for output in outputs(read(path)):
        assert not re.search(r"\w*Warning:|<[\w.]+ (object )?at 0x[0-9a-f]+>", words(output)), words(output)


def test_no_output_names_a_place_on_somebodys_machine(path):
    for output in outputs(read(path)):
        assert not PLACES.search(words(output)), words(output)


def test_it_is_small_and_valid(path):
    assert path.stat().st_size < 2_000_000
    nbformat.validate(read(path))


def test_its_metadata_tell_the_map_what_it_is(path):
    row = course._row(path, read(path))
    assert all(row[key] for key in ("title", "summary", "part"))
    there = {other.name[:2] for other in NOTEBOOKS}
    assert set(filter(None, row["reads_first"].split(", "))) <= there - {row["number"]}


def test_its_first_cell_carries_the_title_of_its_metadata(path):
    nb = read(path)
    assert nb.cells[0].source.startswith("# ")
    assert nb.metadata["canvaslab"]["title"] in nb.cells[0].source.splitlines()[0]


def test_it_claims_something_and_every_claim_could_fail(path):
    found = claims.records(read(path))
    assert found
    for record in found:
        assert record["status"] in ("PASS", "NOT TESTED"), record["claim"]
        assert record["controls"]
        if record["status"] == "PASS":
            bound = claims.Bound(record["bound"]["kind"], tuple(record["bound"]["limits"]))
            assert bound.met(record["measured"]["mean"])
            assert not any(bound.met(control["mean"]) for control in record["controls"])


def test_every_picture_has_a_text_alternative(path):
    for output in outputs(read(path)):
        for kind in set(PICTURES) & set(output.get("data", {})):
            alt = output.metadata.get(kind, {}).get("alt") or output.metadata.get("alt", "")
            assert len(alt.split()) >= 3, "show figures with canvaslab.lab.plots.show(fig, alt=...)"


def test_it_keeps_no_widget_state(path):
    assert "widgets" not in read(path).metadata
    assert not any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in outputs(read(path)))
