"""Stage mode: larger letters, and long cells that load what ships and say so; whatever is wrong with it, they go on."""

import json

import pytest
import torch

from canvaslab.lab import compare, load_shipped, plots, shipped, tiers
from canvaslab.lab import stage as turn_on
from canvaslab.lab.stage import SCALE, SECONDS, limit, scale


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    from sys import modules

    for name in ("CANVASLAB_STAGE", "CANVASLAB_SHIP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(modules["canvaslab.lab.stage"], "_limit", None)
    monkeypatch.setattr(tiers, "_active", None)
    monkeypatch.setenv("CANVASLAB_TIER", "smoke")


made = []


def make():
    made.append(1)
    return {"w": torch.arange(3.0)}


def other():
    made.append(1)
    return {"w": torch.arange(4.0)}


@pytest.fixture
def ship(tmp_path, monkeypatch, capsys):
    """A folder with a shipped file that says it took 90 seconds."""
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    shipped("x", make, folder=tmp_path)
    monkeypatch.delenv("CANVASLAB_SHIP")
    note = tmp_path / "x.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "seconds": 90.0}))
    made.clear()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "seconds"), [("", None), ("0", None), ("off", None), ("1", SECONDS), ("on", SECONDS), ("45", 45.0)]
)
def test_the_environment_turns_it_on(monkeypatch, given, seconds):
    monkeypatch.setenv("CANVASLAB_STAGE", given)
    assert limit() == seconds
    assert scale() == (1.0 if seconds is None else SCALE)


@pytest.mark.parametrize("given", ["loud", "-3", "nan", "inf"])
def test_what_it_cannot_be_is_said(monkeypatch, given):
    monkeypatch.setenv("CANVASLAB_STAGE", given)
    with pytest.raises(ValueError, match="number of seconds"):
        limit()


def test_one_call_turns_it_on_and_off_whatever_the_environment_says(monkeypatch, capsys):
    turn_on(10)
    assert limit() == 10 and "over 10 s" in capsys.readouterr().out
    monkeypatch.setenv("CANVASLAB_STAGE", "1")
    turn_on(0)
    assert limit() is None


def test_letters_and_lines_of_figures_grow_on_stage():
    def letters():
        _, ax = plots.figure()
        plots.label(ax, "title", "x", "y")
        return ax.title.get_fontsize(), ax.xaxis.label.get_fontsize(), ax.plot([0, 1])[0].get_linewidth() > 0

    before = letters()
    turn_on()
    assert letters() == (before[0] * SCALE, before[1] * SCALE, True)


def test_off_stage_everything_is_made(ship):
    shipped("x", make, folder=ship)
    assert made


def test_on_stage_a_long_cell_loads_and_says_so(ship, capsys):
    turn_on(30)
    assert torch.equal(shipped("x", make, folder=ship)["w"], torch.arange(3.0))
    assert not made
    assert "Loaded, not made now: x, made in 90 s at the smoke tier" in capsys.readouterr().out


def test_on_stage_a_quick_cell_is_made(ship):
    turn_on(100)
    shipped("x", make, folder=ship)
    assert made


def test_retrain_decides_everywhere(ship):
    shipped("x", make, retrain=False, folder=ship)
    assert not made
    turn_on(30)
    shipped("x", make, retrain=True, folder=ship)
    assert made


def spoil_missing(folder):
    (folder / "x.safetensors").unlink()


def spoil_byte(folder):
    data = bytearray((folder / "x.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "x.safetensors").write_bytes(data)


def spoil_note(folder):
    (folder / "x.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "says"), [(spoil_missing, "does not ship"), (spoil_byte, "altered"), (spoil_note, "altered")]
)
def test_a_missing_or_altered_file_is_one_sentence_and_then_made(ship, capsys, spoil, says):
    spoil(ship)
    capsys.readouterr()
    turn_on(30)
    shipped("x", make, folder=ship)
    said = capsys.readouterr().out.strip().splitlines()
    assert made and says in said[-1] and said[-1].endswith("made now.")


def test_other_code_or_another_tier_is_not_loaded(ship, monkeypatch, capsys):
    assert len(shipped("x", other, retrain=False, folder=ship)["w"]) == 4
    monkeypatch.setenv("CANVASLAB_TIER", "gpu")
    shipped("x", make, retrain=False, folder=ship)
    said = capsys.readouterr().out
    assert "other code" in said and "made at the smoke tier and this is gpu" in said


def test_too_much_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    with pytest.raises(ValueError, match="at most 3,000,000"):
        shipped("x", lambda: {"w": torch.zeros(1_000_000)}, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_larger_than_one_file_ships_in_several(tmp_path, monkeypatch, capsys):
    made = {"model": {f"{i}.weight": torch.full((300_000,), float(i)) for i in range(5)}, "loss": torch.arange(3)}
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    shipped("big", lambda: made, folder=tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) == 3 and all(path.stat().st_size <= 3_000_000 for path in files)
    model = load_shipped("big", "model", folder=tmp_path)
    assert all(torch.equal(t, model[key]) for key, t in made["model"].items())
    with pytest.raises(ValueError, match="no part 'weights'; its parts: loss, model"):
        load_shipped("big", "weights", folder=tmp_path)
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match="CANVASLAB_SHIP=1 python -m canvaslab run"):
        load_shipped("big", folder=tmp_path)


def test_a_tree_comes_back_as_it_was(tmp_path, monkeypatch, capsys):
    tree = {"a.b": torch.ones(2), "a": {"b": torch.zeros(3)}, "nets": [{"w": torch.eye(2).half()}, {}], "n": 3}
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    shipped("tree", lambda: tree, folder=tmp_path)
    back = load_shipped("tree", folder=tmp_path)
    assert str(back) == str(tree) and back["nets"][0]["w"].dtype == torch.float16


@pytest.mark.parametrize(
    ("made", "says"),
    [({"net": torch.nn.Linear(1, 1)}, "net is a Lin"), ({"a": ["x"]}, "a.0 is a str"), ({"k": {1: 2}}, "not strings")],
)
def test_what_cannot_ship_is_named(tmp_path, monkeypatch, made, says):
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    with pytest.raises(TypeError, match=says):
        shipped("x", lambda: made, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_altered_result_is_not_loaded_elsewhere(ship):
    spoil_byte(ship)
    with pytest.raises(ValueError, match="altered"):
        load_shipped("x", folder=ship)


def measure(variant, seed):
    made.append(1)
    return variant + 0.1 * seed


def test_what_it_depends_on_counts_and_addresses_in_memory_do_not(ship, monkeypatch, capsys):
    def load(*depends):
        made.clear()
        shipped("x", make, depends=depends, retrain=False, folder=ship)
        return not made

    class Thing:
        pass

    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    shipped("x", make, depends=(measure, {"a": [1.0, Thing()]}), folder=ship)
    monkeypatch.delenv("CANVASLAB_SHIP")
    assert load(measure, {"a": [1.0, Thing()]})
    assert not load(other, {"a": [1.0, Thing()]}) and not load(measure, {"a": [2.0, Thing()]}) and not load()


def test_a_comparison_ships_and_other_variants_are_run(tmp_path, monkeypatch, capsys):
    from sys import modules

    monkeypatch.setattr(modules["canvaslab.lab.shipped"], "RESULTS", tmp_path)
    monkeypatch.setenv("CANVASLAB_SHIP", "1")
    table = compare(measure, {"a": 1.0, "b": 2.0}, range(3), ship="x")
    monkeypatch.delenv("CANVASLAB_SHIP")
    made.clear()
    note = tmp_path / "x.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "seconds": 90.0}))
    turn_on(30)
    assert compare(measure, {"a": 1.0, "b": 2.0}, range(3), ship="x").equals(table) and not made
    compare(measure, {"a": 1.0, "b": 3.0}, range(3), ship="x")
    assert len(made) == 6 and "other code" in capsys.readouterr().out
