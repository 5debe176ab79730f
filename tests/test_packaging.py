"""Laws of the package: its lists of requirements agree, its pins lie within its ranges, its import is light."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import canvaslab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def wanted() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]


def test_ranges_are_open_above_and_start_somewhere():
    for requirement in wanted():
        assert [specifier.operator for specifier in requirement.specifier] == [">="], requirement
    torch = next(r for r in wanted() if r.name == "torch")
    assert str(torch.specifier) == ">=2.11"


def test_the_tested_set_lies_within_the_ranges_and_covers_them():
    pins = {canonicalize_name(name): Version(version) for name, _, version in (pin.partition("==") for pin in PINS)}
    for requirement in wanted():
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    assert str(pins["torch"]) == "2.13.0"


def test_every_import_of_the_package_is_declared():
    from importlib import metadata

    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    # The kernel's own parts (IPython, jupyter_client, ...) are as good as declared with ipykernel.
    declared |= {canonicalize_name(Requirement(line).name) for line in metadata.requires("ipykernel")}
    owners = metadata.packages_distributions()
    for path in (ROOT / "canvaslab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"canvaslab"}:
                owned = {canonicalize_name(owner) for owner in owners.get(name, [])}
                assert owned & declared, f"{path.name} imports {name}, which is not declared"


def test_the_tested_set_pins_releases_only():
    for pin in PINS:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), f"{pin} is no plain pin: no paths, addresses, or local builds"
    assert len({canonicalize_name(pin.partition("==")[0]) for pin in PINS}) == len(PINS)


def test_the_tested_set_covers_what_its_packages_need():
    """Every package that this environment took in for canvaslab's sake has its pin."""
    from importlib import metadata

    pinned = {canonicalize_name(pin.partition("==")[0]) for pin in PINS}
    todo, seen = [(requirement, "") for requirement in wanted()], set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        assert name in pinned or name in ("pip", "setuptools") or name.startswith(("nvidia-", "cuda-", "triton")), name
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(Requirement(line), extra) for line in needs]


def test_conda_s_list_agrees_with_pyproject():
    plain = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    (through_pip,) = (line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict))
    extras = [extra for extra in PROJECT["optional-dependencies"] if extra != "bench"]  # it would bring torchvision
    assert through_pip == ["-e .[" + ",".join(extras) + "]"]
    conda = {Requirement(line).name: Requirement(line).specifier for line in plain}
    assert conda.keys() == {"python", "pytorch", "pip"}
    assert conda["python"] == SpecifierSet(PROJECT["requires-python"])
    assert conda["pytorch"] == next(r.specifier for r in wanted() if r.name == "torch")


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"])
def test_no_file_names_a_host(file):
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", text)


def test_pythons_3_11_to_3_13_and_no_other():
    accepted = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}.{patch}" for minor in range(8, 16) for patch in (0, 9)]
    assert [v for v in versions if v in accepted] == [
        f"3.{minor}.{patch}" for minor in (11, 12, 13) for patch in (0, 9)
    ]


def test_the_version_is_stated_once_and_the_same():
    assert PROJECT["version"] == canvaslab.__version__
    assert PROJECT["license"] == "MIT"
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_what_the_package_needs_at_run_time_ships_with_it():
    """Every file beside the code lies where package-data looks for it, so an install without the repository works."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["canvaslab"]
    package = ROOT / "canvaslab"
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    beside = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert beside - shipped == set()


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_make_refuses_other_pythons_in_a_sentence(tmp_path, version):
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}.1" && exit 0\nexit 1\n')
    fake.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        (tmp_path / name).symlink_to(fake)
    made = subprocess.run(
        ["make", "test"], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert made.returncode != 0
    assert f"needs Python 3.11, 3.12 or 3.13, and 'python3' is Python {version}.1" in made.stdout
    assert not (tmp_path / ".venv").exists()


def cpu_seconds(module: str) -> float:
    """CPU time that a fresh interpreter takes from its start to the end of ``import module``."""
    code = f"import {module}, time; print(time.process_time())"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT))


def test_importing_canvaslab_costs_at_most_1_3_times_importing_torch():
    rooms = "canvaslab.data, canvaslab.diffusion, canvaslab.lab, canvaslab.nets"
    times = [(cpu_seconds("torch"), cpu_seconds(rooms)) for _ in range(4)]
    torch, everything = (min(column) for column in zip(*times, strict=True))
    assert everything <= 1.3 * torch, f"importing every room takes {everything:.2f} s, torch alone {torch:.2f} s"
