"""Laws of the doctor: it never faints, it finds what is wrong, and it tells no stranger where things lie."""

import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from canvaslab.data import images
from canvaslab.lab import doctor


def find(found: list, name: str) -> doctor.Check:
    return next(check for check in found if check.name == name)


@pytest.fixture(scope="module")
def healthy() -> list:
    return doctor.checks()


def test_this_machine_is_fit_for_the_course(healthy):
    assert [check for check in healthy if check.status == "fail"] == []
    assert len({check.name for check in healthy}) == len(doctor.LOOKS)
    assert find(healthy, "data").status == "ok"
    assert find(healthy, "network").found.startswith("not needed")


def test_every_note_says_what_to_do(healthy):
    assert all(check.status in doctor.MARKS for check in healthy)
    assert all(check.advice for check in healthy if check.status != "ok")


def test_the_report_names_each_check_and_no_machine_path(healthy, capsys, root):
    doctor.report(healthy)
    text, table = capsys.readouterr().out, doctor.as_html(healthy)
    for check in healthy:
        assert check.name in text
        assert check.name in table
    for private in (str(Path.home()), str(root), sys.prefix):
        assert private not in text + table


def test_the_table_escapes_what_it_shows():
    table = doctor.as_html([doctor.Check("a<b", "warn", "<script>", "x & y")])
    assert "<script>" not in table
    assert "a&lt;b" in table
    assert "x &amp; y" in table


@pytest.mark.parametrize("error", [RuntimeError("broken"), OSError("gone"), KeyError("x"), ImportError("psutil")])
def test_a_look_that_fails_is_a_note(error):
    def _memory():
        raise error

    check = doctor._safely(_memory)
    assert check.name == "memory"
    assert check.status in ("warn", "fail")


def test_missing_and_spoilt_data_are_told_apart(empty_machine, root):
    folder = empty_machine / "data" / "fashion-mnist"
    missing = doctor._data()
    assert missing.status == "warn"
    assert "CANVASLAB_DATA" in missing.advice
    shutil.copytree(root / "data" / "fashion-mnist", folder)
    assert doctor._data().status == "ok"
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1])
    spoilt = doctor._data()
    assert spoilt.status == "fail"
    assert labels.name in spoilt.found
    assert images.FASHION_FILES.keys() - {labels.name} == {f for f in images.FASHION_FILES if f not in spoilt.found}
    assert doctor._network().status == "warn"


def test_a_package_out_of_range_is_named(monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1" if name == "einops" else version(name))
    check = doctor._versions()
    assert check.status == "fail"
    assert check.found == "einops 0.0.1 (wanted >=0.8)"


def test_widgets_that_do_not_belong_together_are_seen(monkeypatch):
    version = doctor._version
    for name, answer, status in (
        ("ipywidgets", None, "fail"),
        ("jupyterlab", None, "warn"),
        ("ipywidgets", "7.8", "warn"),
    ):
        monkeypatch.setattr(
            doctor, "_version", lambda asked, name=name, answer=answer: answer if asked == name else version(asked)
        )
        assert doctor._widgets().status == status


def test_a_kernel_of_another_python_is_seen(monkeypatch, tmp_path):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["/opt/other/bin/python", "-m", "ipykernel"], "display_name": "x"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert doctor._kernel().status == "warn"
    assert "…/bin/python" in doctor._kernel().found


def test_little_memory_and_little_room_are_seen(monkeypatch):
    import psutil

    Memory = namedtuple("Memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(doctor.GIB, 4 * doctor.GIB))
    assert doctor._memory().status == "warn"
    Disk = namedtuple("Disk", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(doctor.GIB // 2))
    assert doctor._disk().status == "warn"


def test_asking_for_the_doctor_loads_no_more_than_torch():
    heavy = "{'matplotlib', 'datasets', 'sklearn', 'jupyter_client', 'ipywidgets', 'diffusers', 'accelerate'}"
    code = f"import sys; from canvaslab.lab import doctor; print(*{heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
