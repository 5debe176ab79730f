"""Claims: one that cannot fail is refused, one that fails shows its numbers, what shows is what is stored."""

import json
import math
import re

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats

from canvaslab.lab import claims, stamp, tiers
from canvaslab.lab.claims import ClaimFailed, claim, collect
from canvaslab.lab.papers import PAPERS


@pytest.fixture(autouse=True)
def at_laptop(monkeypatch):
    monkeypatch.delenv("CANVASLAB_TIER", raising=False)
    monkeypatch.delenv("CANVASLAB_SEED", raising=False)
    monkeypatch.setattr(tiers, "_active", None)


@pytest.fixture
def shown(monkeypatch):
    """The records that were shown, in order."""
    seen = []
    monkeypatch.setattr(claims, "publish", lambda bundle, metadata=None: seen.append(bundle))
    return seen


GOOD = {"at_least": 0.9, "control": ("random", 0.5)}


def test_a_held_claim_shows_pass_and_returns_none(shown):
    assert claim("it works", 0.95, **GOOD) is None
    assert shown[0][claims.MIMETYPE]["status"] == "PASS"
    assert shown[0]["text/plain"].startswith("PASS: it works")


@pytest.mark.parametrize(
    ("bound", "good", "bad"),
    [({"at_least": 2.0}, (2.0, 3), (1.999, -5)), ({"at_most": 2.0}, (2.0, -1), (2.001, 9)),
     ({"between": (1, 2)}, (1, 1.5, 2), (0.999, 2.001))],
)  # fmt: skip
def test_exactly_one_side_of_a_bound_passes_and_the_control_must_be_on_the_other(shown, bound, good, bad):
    for measured in good:
        claim("c", measured, **bound, control=("k", bad[0]))
        for control in good:
            with pytest.raises(ClaimFailed, match="shows nothing"):
                claim("c", measured, **bound, control=("k", control))
    for measured in bad:
        with pytest.raises(ClaimFailed, match="is not"):
            claim("c", measured, **bound, control=("k", bad[0]))


def test_failure_is_an_assertion_that_shows_every_number_and_is_shown_first(shown):
    with pytest.raises(AssertionError) as caught:
        claim("recall", [0.8, 0.82], at_least=0.9, control=[("random", 0.123), ("blurred", 0.95)], unit="hits")
    for number in ("0.81", "0.9", "0.123", "0.95", "random", "blurred", "hits"):
        assert number in str(caught.value)
    assert shown[0][claims.MIMETYPE]["status"] == "FAIL"


def test_one_control_of_several_that_passes_is_enough_to_refuse(shown):
    with pytest.raises(ClaimFailed, match="'b'"):
        claim("c", 1.0, at_least=0.9, control=[("a", 0.0), ("b", 0.9)])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"control": None}, ValueError, "control"),
        ({"control": []}, ValueError, "control"),
        ({"control": 0.5}, TypeError, "name, value"),
        ({"control": ("", 0.5)}, TypeError, "name, value"),
        ({"control": [("a", 0.1), ("a", 0.2)]}, ValueError, "same name"),
        ({"at_least": None}, ValueError, "exactly one bound"),
        ({"at_most": 3.0}, ValueError, "exactly one bound"),
        ({"at_least": None, "between": (2, 1)}, ValueError, "accepts nothing"),
        ({"at_least": None, "between": 3}, TypeError, "pair"),
        ({"at_least": math.nan}, ValueError, "finite"),
        ({"measured": math.nan}, ValueError, "finite"),
        ({"measured": math.inf}, ValueError, "finite"),
        ({"measured": [0.95, math.nan]}, ValueError, "finite"),
        ({"measured": []}, ValueError, "empty"),
        ({"measured": torch.zeros(0)}, ValueError, "empty"),
        ({"measured": "0.95"}, TypeError, "number"),
        ({"measured": True}, TypeError, "number"),
        ({"measured": None}, TypeError, "number"),
        ({"measured": torch.ones(2, 2)}, TypeError, "flat"),
        ({"control": ("k", math.nan)}, ValueError, "finite"),
        ({"text": "  "}, ValueError, "text"),
        ({"from_tier": "huge"}, ValueError, "smoke, laptop, gpu"),
        ({"paper": "ddmp", "headline": "h"}, ValueError, "ddpm"),
        ({"headline": "95 %"}, ValueError, "paper="),
    ],
)
def test_a_claim_that_cannot_fail_or_be_read_is_refused_when_made(shown, change, error, says):
    call = {"text": "c", "measured": 0.95, **GOOD, **change}
    with pytest.raises(error, match=re.escape(says)) as caught:
        claim(call.pop("text"), call.pop("measured"), **call)
    assert not isinstance(caught.value, AssertionError)
    assert not shown, "a refused claim must not look like a result"


def test_below_its_tier_a_claim_is_shown_untested_but_still_checked_for_form(shown, monkeypatch):
    monkeypatch.setenv("CANVASLAB_TIER", "smoke")
    claim("big", 0.1, **GOOD, from_tier="laptop")
    assert shown[0][claims.MIMETYPE]["status"] == "NOT TESTED"
    assert "not tested at smoke" in shown[0]["text/plain"]
    assert "0.1" in shown[0]["text/plain"]
    with pytest.raises(ValueError, match="control"):
        claim("big", 0.1, at_least=0.9, from_tier="laptop")
    monkeypatch.setenv("CANVASLAB_TIER", "laptop")
    with pytest.raises(ClaimFailed):
        claim("big", 0.1, **GOOD, from_tier="laptop")


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_seeds_give_the_mean_and_scipys_t_interval(shown, kind):
    values = [0.91, 0.97, 0.94, 0.99]
    claim("c", kind(values), **GOOD)
    stored = shown[0][claims.MIMETYPE]["measured"]
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert stored["mean"] == pytest.approx(np.mean(values), rel=1e-6)
    assert stored["interval"] == pytest.approx([low, high], rel=1e-5)
    assert "4 seeds" in shown[0]["text/plain"]


def test_one_seed_has_no_interval(shown):
    claim("c", [0.95], **GOOD)
    assert shown[0][claims.MIMETYPE]["measured"]["interval"] is None
    assert "±" not in shown[0]["text/plain"]


def test_what_shows_carries_every_part_in_words_and_is_escaped(shown):
    claim("a < b", 0.95, **GOOD, paper="ddpm", headline="<b>3.17</b>", unit="%")
    text, html = shown[0]["text/plain"], shown[0]["text/html"]
    for part in ("PASS", "0.95 %", "at least 0.9", "random", "0.5", "Ho et al. 2020"):
        assert part in text
        assert part in html
    assert "\n" not in text
    assert "a &lt; b" in html
    assert "<b>3.17" not in html
    assert "color:" not in html.replace("currentColor", ""), "colour must not carry information"
    json.dumps(shown[0], allow_nan=False)


def test_outside_a_notebook_the_line_is_printed(capsys):
    claim("it works", 0.95, **GOOD)
    assert capsys.readouterr().out.startswith("PASS: it works")


def notebook(tmp_path, *records, name="01_x.ipynb", fresh=True):
    outputs = [nbformat.v4.new_output("display_data", {claims.MIMETYPE: r, "text/plain": "x"}) for r in records]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    code = stamp.code_sha256(nb) if fresh else "old"
    nb.metadata["canvaslab"] = {"stamp": {"code_sha256": code, "device": "a chip", "cpu_seconds": 7.5}}
    nbformat.write(nb, tmp_path / name)
    return nb


def test_collect_reads_back_what_was_claimed(shown, tmp_path):
    claim("one", [1.0, 2.0], at_least=1, control=("k", 0.5), paper="edm", headline="1.79")
    claim("two", 3.0, at_most=4, control=("k", 5))
    notebook(tmp_path, *(bundle[claims.MIMETYPE] for bundle in shown))
    table = collect(tmp_path)
    assert tuple(table.columns) == claims.COLUMNS
    one, two = table.to_dict("records")
    assert (one["notebook"], one["paper"], one["headline"], one["status"]) == ("01_x", "edm", "1.79", "PASS")
    assert one["measured"] == 1.5
    assert one["interval"] == pytest.approx(stats.t.interval(0.95, 1, 1.5, 0.5))
    assert two["interval"] is None
    assert (two["bound"], two["control"], two["device"], two["seconds"]) == ("at most 4", "k 5", "a chip", 7.5)


def test_collect_calls_numbers_of_other_code_stale(shown, tmp_path):
    claim("one", 1.0, at_least=1, control=("k", 0.5))
    notebook(tmp_path, shown[0][claims.MIMETYPE], fresh=False)
    assert list(collect(tmp_path).status) == ["STALE"]


def test_collect_refuses_what_it_cannot_read(shown, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        collect(tmp_path / "none")
    claim("one", 1.0, at_least=1, control=("k", 0.5))
    record = shown[0][claims.MIMETYPE]
    notebook(tmp_path, {k: v for k, v in record.items() if k != "bound"})
    with pytest.raises(ValueError, match=re.escape("01_x.ipynb")):
        collect(tmp_path)
    notebook(tmp_path, record, record)
    with pytest.raises(ValueError, match="same text"):
        collect(tmp_path)


def test_an_empty_folder_gives_the_columns_and_no_row(tmp_path):
    assert tuple(collect(tmp_path).columns) == claims.COLUMNS
    assert len(collect(tmp_path)) == 0


def test_papers_have_a_citation_that_agrees_with_their_year():
    for key, entry in PAPERS.items():
        assert str(entry.year) in entry.citation, key
        assert entry.url.startswith("https://"), key
