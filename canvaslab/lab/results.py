"""Small tables of a notebook's claims over seeds: made by `python -m canvaslab run NN --seeds 0 1 2`, shipped."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import claims, stamp
from .files import write_atomically

RESULTS = stamp.PACKAGE / "results"
MADE = ("tier", "device", "torch", "date", "code_sha256")


def _file(number: str, folder: Path | None) -> Path:
    return (folder or RESULTS) / f"{number}_seeds.json"


def _number(notebook: Path) -> str:
    """"04" of 04_images_from_scratch.ipynb; the whole stem where a name does not begin with two digits."""
    return notebook.stem[:2] if notebook.stem[:2].isdecimal() else notebook.stem


def run_seeds(
    notebook: str | Path,
    seeds: Sequence[int],
    tier: str | None = None,
    *,
    timeout: float | None = None,
    folder: Path | None = None,
    bar: bool = True,
) -> Path:
    """Execute a notebook once for each seed, without saving it, and write what its claims measured as a small table.

    A claim that fails at some seed is part of the spread and is recorded; any other error stops everything.
    Returns the written file, `NN_seeds.json` in `folder` (default: the library's results). Errors as `run.run`;
    ValueError for no, repeated or negative seeds, or a notebook without claims.
    """
    from .run import RunFailed, execute

    path, seeds = Path(notebook), list(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"--seeds needs different whole numbers from 0 on, for example 0,1,2; given {seeds}")
    rows, made = [], {}
    for seed in seeds:
        nb, measured, _ = execute(path, tier, seed, timeout=timeout, bar=bar, allow=("ClaimFailed",))
        if measured["seed"] != seed:
            raise RunFailed(f"{path.name} ran with seed {measured['seed']}, not {seed}: tier(...) must set its seed")
        found = claims.records(nb)
        if not found:
            raise ValueError(f"{path.name} makes no claims, so there is nothing to measure over seeds")
        rows += [_row(record, seed) for record in found]
        made = {
            **{key: measured[key] for key in ("tier", "device", "torch")},
            "date": datetime.now(UTC).date().isoformat(),
            "code_sha256": stamp.code_sha256(nb),
        }
    target = _file(_number(path), folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"notebook": path.stem, **made, "seeds": seeds, "rows": rows}, indent=1, allow_nan=False)
    write_atomically(target, text + "\n")
    return target


def _row(record: dict, seed: int) -> dict:
    return {
        "claim": record["claim"], "seed": seed, "measured": record["measured"]["mean"], "status": record["status"],
        "controls": {control["name"]: control["mean"] for control in record["controls"]}, "unit": record["unit"],
    }  # fmt: skip


def measured(number: str | int, claim: str = "", *, folder: Path | None = None, notebook: Path | None = None) -> Any:
    """What a notebook's claims measured over seeds: a DataFrame with columns claim, seed, measured, one a control.

    number: the notebook's, for example "04". claim: the text of a claim, or how it begins ("" for all). notebook: the
    file whose code must have made the table (default: the course's own, where it can be found).
    Where the table was made is printed under it and kept in `.attrs`. If the table is missing, unreadable, or was made
    by other code, prints one sentence and returns None. ValueError if no claim begins so.
    """
    import pandas as pd

    number = f"{int(number):02d}" if str(number).isdecimal() else number
    table = _load(_file(number, folder), number, notebook)
    if table is None:
        return None
    rows = [row for row in table["rows"] if row["claim"].startswith(claim)]
    if not rows:
        known = "; ".join(dict.fromkeys(row["claim"] for row in table["rows"]))
        raise ValueError(f"no claim of notebook {number} begins with {claim!r}; its claims: {known}")
    plain = [{"claim": r["claim"], "seed": r["seed"], "measured": r["measured"], **r["controls"]} for r in rows]

    class Measured(pd.DataFrame):
        """One row a claim and seed; shown with one row a claim."""

        def _repr_html_(self) -> str:
            with pd.option_context("display.max_colwidth", None):
                return _wide(pd.DataFrame(self))._repr_html_()

    frame = Measured(plain)
    frame.attrs = {key: table[key] for key in MADE}
    print(f"{len(table['seeds'])} seeds at the {table['tier']} tier on {table['device']}, {table['date']}")
    return frame


def _wide(frame: Any) -> Any:
    """One row a claim: the mean over seeds, each seed, and the mean of each control."""
    wide = frame.pivot(index="claim", columns="seed", values="measured").reindex(frame["claim"].unique())
    wide.columns = [f"seed {seed}" for seed in wide.columns]
    wide.insert(0, "mean", wide.mean(axis=1))
    wide = wide.map("{:.3g}".format)
    controls = frame.drop(columns=["seed", "measured"]).groupby("claim").mean()
    wide["controls, mean"] = [
        "; ".join(f"{name} {x:.3g}" for name, x in controls.loc[claim].dropna().items()) for claim in wide.index
    ]
    return wide


def _load(path: Path, number: str, notebook: Path | None) -> dict | None:
    again = f"make it with `python -m canvaslab run {number} --seeds 0,1,2`"
    if not path.is_file():
        print(f"No shipped table over seeds for notebook {number}: {again}.")
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        complete = {*MADE, "rows", "seeds"} <= set(table)
    except (ValueError, TypeError):
        complete = False
    if not complete:
        print(f"The table {path.name} cannot be read: {again}.")
        return None
    if _other_code(table["code_sha256"], number, notebook):
        print(f"The table {path.name} was made by other code than notebook {number} has now: {again}.")
        return None
    return table


def _other_code(code: str, number: str, notebook: Path | None) -> bool:
    """True if the notebook is at hand and its code is not that of the table."""
    import nbformat

    from .course import find

    try:
        notebook = notebook or find([number])[0]
    except FileNotFoundError:  # installed without the course: nothing to compare with
        return False
    return stamp.code_sha256(nbformat.read(notebook, as_version=4)) != code
