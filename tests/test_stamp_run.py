"""Runs and stamps: the saved notebook is whole, was made by its own code, and holds nothing that changes by itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from canvaslab.__main__ import join_seeds
from canvaslab.lab import claims, course, results, stamp
from canvaslab.lab.files import write_atomically
from canvaslab.lab.run import RunFailed, run

ROOT = Path(__file__).resolve().parents[1]
ABOUT = {"number": 7, "title": "Tiny", "summary": "A test.", "part": "p", "reads_first": [], "papers": []}
TIER = "from canvaslab.lab import tier, claim\nT = tier(smoke={'n': 1}, laptop={'n': 2}, gpu={'n': 3})"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("CANVASLAB_TIER", raising=False)
    monkeypatch.delenv("CANVASLAB_SEED", raising=False)


def write(path, *sources, about=ABOUT):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Tiny")])
    nb.cells += [nbformat.v4.new_code_cell(source) for source in sources]
    nb.metadata["canvaslab"] = dict(about)
    nbformat.write(nb, path)
    return path


def read(path):
    return nbformat.read(path, as_version=4)


def texts(nb):
    return ["".join(o.get("text", "") for o in c.outputs) for c in nb.cells if c.cell_type == "code"]


def command(*arguments, **kw):
    return subprocess.run(
        [sys.executable, "-m", "canvaslab", *map(str, arguments)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, **kw,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One executed notebook: what it held before, what it holds now."""
    path = write(
        tmp_path_factory.mktemp("nb") / "07_tiny.ipynb",
        TIER,
        "import sys, subprocess, time\nfrom tqdm import tqdm\nfor _ in tqdm(range(3)): time.sleep(.11)\n"
        "print('kept', file=sys.stderr)\nprint(T.n, T.seed, sys.executable)",
        "import ipywidgets\ndisplay(ipywidgets.IntSlider())",
        "block = b'x' * 300_000_000; del block\nend = time.process_time() + 1\nwhile time.process_time() < end: pass\n"
        "_ = subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'])",
        "claim('the knob is small', T.n, at_most=10, control=('large', 11))",
    )
    before = read(path)
    return path, before, run(path, tier="smoke", seed=4, bar=False)


def test_the_notebook_runs_in_this_interpreter_with_the_tier_and_seed_asked_for(made):
    path, _, ran = made
    assert f"1 4 {sys.executable}" in texts(read(path))[1]
    assert (ran.stamp["tier"], ran.stamp["seed"]) == ("smoke", 4)


def test_only_outputs_metadata_and_counts_change(made):
    path, before, _ = made
    assert [(c.cell_type, c.source, c.id) for c in read(path).cells] == [
        (c.cell_type, c.source, c.id) for c in before.cells
    ]


def test_the_stamp_says_where_how_and_from_what(made):
    nb = read(made[0])
    found = stamp.read(nb)
    assert set(found) >= {
        "tier", "seed", "device", "torch", "canvaslab", "python", "cpu_seconds", "wall_seconds", "peak_memory_mb",
        "date", "code_sha256", "library_sha256",
    }  # fmt: skip
    assert os.uname().nodename not in json.dumps(found), "a stamp names no machine"
    assert found["library_sha256"] == stamp.library_sha256()
    assert stamp.check(nb) is None


def test_cpu_seconds_count_the_kernel_and_its_children_and_memory_is_the_kernels_own_peak(made):
    found = made[2].stamp
    assert 2.0 <= found["cpu_seconds"] <= found["wall_seconds"] * (os.cpu_count() or 1) + 1
    assert 300 <= found["peak_memory_mb"] <= 900


def test_nothing_volatile_is_saved(made):
    nb = read(made[0])
    assert "widgets" not in nb.metadata
    assert "version" not in nb.metadata.get("language_info", {})
    stored = json.dumps(nb)
    assert "widget-view" not in stored
    assert "it/s" not in stored and "3/3" not in stored
    assert "kept" in texts(nb)[1], "only progress is dropped from stderr: a warning must stay visible"
    assert all("execution" not in cell.metadata for cell in nb.cells)
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3, 4, 5]


def test_a_claim_in_the_outputs_can_be_collected(made):
    (row,) = claims.collect(made[0].parent).to_dict("records")
    assert (row["claim"], row["status"], row["tier"]) == ("the knob is small", "PASS", "smoke")
    assert row["seconds"] == made[2].stamp["cpu_seconds"]


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda cells: cells[1].update(source=cells[1].source + " "), True),
        (lambda cells: cells.pop(), True),
        (lambda cells: cells.insert(2, cells.pop(3)), True),
        (lambda cells: cells.append(nbformat.v4.new_code_cell("")), True),
        (lambda cells: cells[0].update(source="other words"), False),
        (lambda cells: cells[1].update(source=cells[1].source.replace("\n", "\r\n")), False),
        (lambda cells: cells.insert(0, nbformat.v4.new_markdown_cell("more words")), False),
    ],
)
def test_a_stamp_is_stale_exactly_when_code_changed(made, change, stale):
    nb = read(made[0])
    change(nb.cells)
    sentence = stamp.check(nb)
    assert (sentence is not None) == stale
    assert not stale or "changed" in sentence


def test_moving_code_between_cells_is_a_change():
    cells = [nbformat.v4.new_code_cell(s) for s in ("a\nb", "c")], [nbformat.v4.new_code_cell(s) for s in ("a", "b\nc")]
    one, two = (nbformat.v4.new_notebook(cells=list(c)) for c in cells)
    assert stamp.code_sha256(one) != stamp.code_sha256(two)


def test_a_notebook_without_a_stamp_is_told_what_to_do(tmp_path):
    assert "no stamp" in stamp.check(read(write(tmp_path / "a.ipynb", "1")))


def test_times_of_other_tiers_stay_while_the_code_stays():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    used = {"tier": None, "seed": 0, "device": "chip", "cpu_seconds": 1.0, "peak_memory_mb": 5}
    stamp.stamp(nb, used, wall_seconds=1, tier="smoke")
    stamp.stamp(nb, used, wall_seconds=9, tier="laptop")
    assert set(nb.metadata["canvaslab"]["times"]) == {"smoke", "laptop"}
    assert course.cost(nb.metadata["canvaslab"]) == "smoke 1 s, laptop 9 s, 5 MB"
    nb.cells[0].source = "2"
    stamp.stamp(nb, used, wall_seconds=9, tier="laptop")
    assert set(nb.metadata["canvaslab"]["times"]) == {"laptop"}


def test_an_error_leaves_the_old_file_and_says_where(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", "a = 1", "# the second\nb = a / 0\nc = 3")
    old = path.read_bytes()
    done = command("run", path, "--tier", "smoke")
    assert done.returncode == 1
    for part in ("07_tiny.ipynb", "cell 3 of 3", "b = a / 0", "ZeroDivisionError: division by zero"):
        assert part in done.stderr
    assert "site-packages" not in done.stderr and "\x1b" not in done.stderr
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["07_tiny.ipynb"]


def test_a_failed_claim_is_an_error_too(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", TIER, "claim('control passes', 1, at_least=0, control=('c', 2))")
    old = path.read_bytes()
    with pytest.raises(RunFailed, match="shows nothing"):
        run(path, bar=False)
    assert path.read_bytes() == old


def test_a_run_killed_midway_leaves_the_old_file_and_no_kernel(tmp_path):
    started = tmp_path / "started"
    wait = f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    path = write(tmp_path / "07_tiny.ipynb", wait)
    old = path.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "canvaslab", "run", str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kernel = int(_wait_for(lambda: started.exists() and started.read_text()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["07_tiny.ipynb", "started"]
    assert _wait_for(lambda: not _alive(kernel)), "the kernel must not outlive its run"


def _wait_for(condition, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    return None


def _alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_kernel_that_dies_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", "import os\nos._exit(1)")
    old = path.read_bytes()
    with pytest.raises(RunFailed, match=r"cell 2 of 2.*(?s:.)*kernel ended"):
        run(path, bar=False)
    assert path.read_bytes() == old


def test_a_cell_over_its_time_fails_by_name(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", "import time\ntime.sleep(30)")
    with pytest.raises(RunFailed, match=r"longer than the 1 seconds"):
        run(path, timeout=1, bar=False)


def test_a_notebook_edited_while_it_ran_is_not_overwritten(tmp_path):
    path = tmp_path / "07_tiny.ipynb"
    write(path, f"open({str(path)!r}, 'a').write(' ')")
    with pytest.raises(RunFailed, match="changed by someone else"):
        run(path, bar=False)
    assert path.read_text().endswith(" ")


def test_out_saves_elsewhere_and_leaves_the_source(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", "print(6 * 7)")
    old = path.read_bytes()
    run(path, out=tmp_path / "new.ipynb", bar=False)
    assert path.read_bytes() == old
    assert texts(read(tmp_path / "new.ipynb")) == ["42\n"]


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o640)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]
    monkeypatch.undo()
    write_atomically(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_notebooks_are_found_by_number_name_path_and_all(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    one, two = write(folder / "01_first.ipynb"), write(folder / "10_tenth.ipynb")
    for name in ("1", "01", "01_first", "01_f"):
        assert course.find([name], folder) == [one]
    assert course.find(["10", "01"], folder) == [two, one]
    assert course.find(["all"], folder) == [one, two]
    assert course.find([str(two)], folder) == [two]
    assert course.find(["01", "all"], folder) == [one, two], "none twice"
    for bad in ("02", "first", "0"):
        with pytest.raises(FileNotFoundError, match="01_first, 10_tenth"):
            course.find([bad], folder)


def test_the_command_answers_what_it_cannot_do_in_one_sentence(tmp_path):
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks" / "01_first.ipynb", "1")
    for arguments, says in (
        (["run", "05"], "01_first"),
        (["run", "01", "--tier", "huge"], "smoke, laptop, gpu"),
        (["run", "01", "--seeds", "a"], "whole numbers"),
        (["claims", "--folder", "nowhere"], "no folder"),
    ):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    (tmp_path / "notebooks" / "02_bad.ipynb").write_text("{not json")
    done = command("run", "02", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be read as a notebook" in done.stderr and "Traceback" not in done.stderr


def test_claims_as_json_is_what_collect_says(made):
    done = command("claims", "--json", "--folder", made[0].parent)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["claim"], row["measured"], row["control"]) == ("the knob is small", 1.0, "large 11")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["run", "04", "--seeds", "0", "1", "2"], ["run", "04", "--seeds", "0,1,2"]),
        (["run", "--seeds", "0", "1", "04"], ["run", "--seeds", "0,1", "04"]),
        (["run", "04", "--seeds", "0,1"], ["run", "04", "--seeds", "0,1"]),
        (["run", "04", "--seeds", "3", "--tier", "gpu"], ["run", "04", "--seeds", "3", "--tier", "gpu"]),
        (["run", "04"], ["run", "04"]),
    ],
)
def test_seeds_may_stand_apart(given, meant):
    assert join_seeds(given) == meant


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A notebook whose claim fails at seed 2, run over three seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    path = write(
        folder / "07_tiny.ipynb", TIER, "claim('seed is small', T.seed, at_most=1, control=('big', 10 + T.seed))",
        "claim('knob', T.n, at_least=1, control=('zero', 0.))",
    )  # fmt: skip
    old = path.read_bytes()
    file = results.run_seeds(path, [0, 1, 2], tier="smoke", folder=folder, bar=False)
    assert path.read_bytes() == old, "measuring over seeds does not save the notebook"
    return path, file


def test_the_seeds_table_holds_every_claim_at_every_seed_also_where_it_failed(table, capsys):
    path, file = table
    assert file.name == "07_seeds.json"
    frame = results.measured("07", "seed", folder=file.parent, notebook=path)
    assert list(frame.seed) == [0, 1, 2]
    assert list(frame.measured) == [0, 1, 2]
    assert list(frame["big"]) == [10, 11, 12]
    assert frame.attrs["tier"] == "smoke"
    shown = frame._repr_html_()
    assert shown.count("seed is small") == 1 and "big 11" in shown and "NaN" not in shown
    assert "3 seeds at the smoke tier" in capsys.readouterr().out
    stored = json.loads(file.read_text())
    assert [r["status"] for r in stored["rows"] if r["claim"] == "seed is small"] == ["PASS", "PASS", "FAIL"]
    assert len(results.measured(7, folder=file.parent, notebook=path)) == 6


def test_a_seeds_table_missing_broken_or_of_other_code_is_a_sentence_and_none(table, tmp_path, capsys):
    path, file = table
    other = write(tmp_path / "07_tiny.ipynb", "other code")
    assert results.measured("07", folder=file.parent, notebook=other) is None
    assert "other code" in capsys.readouterr().out
    assert results.measured("07", folder=tmp_path) is None
    assert "--seeds" in capsys.readouterr().out
    for broken in ("{", "[]", "{}"):
        (tmp_path / "07_seeds.json").write_text(broken)
        assert results.measured("07", folder=tmp_path) is None
        assert "cannot be read" in capsys.readouterr().out
    with pytest.raises(ValueError, match="knob"):
        results.measured("07", "nothing", folder=file.parent, notebook=path)


def test_an_error_that_is_no_claim_stops_the_seeds_and_writes_nothing(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", TIER, "assert T.seed == 0")
    with pytest.raises(RunFailed, match="AssertionError"):
        results.run_seeds(path, [1], folder=tmp_path, bar=False)
    assert os.listdir(tmp_path) == ["07_tiny.ipynb"]


def test_seeds_that_do_not_reach_the_notebook_are_refused(tmp_path):
    path = write(tmp_path / "07_tiny.ipynb", "1")
    with pytest.raises(RunFailed, match="must set its seed"):
        results.run_seeds(path, [1], folder=tmp_path, bar=False)
    for bad in ([], [1, 1], [-1]):
        with pytest.raises(ValueError, match="--seeds"):
            results.run_seeds(path, bad, folder=tmp_path, bar=False)
