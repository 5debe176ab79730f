"""Stage mode: letters and figures for a projector, and long cells that load what was made before.

`CANVASLAB_STAGE=1` in the environment, or one call of `stage()`, turns it on; `CANVASLAB_STAGE=30` also sets how many
seconds a cell may take. `shipped` reads that limit.
"""

import os

from .display import in_notebook, publish

SECONDS = 20.0  # longer than this, and an audience looks at its telephones
SCALE = 1.3  # of letters, lines and dots in a figure of the same size
CSS = (
    "<style>.jp-Notebook .jp-RenderedHTMLCommon, .jp-Notebook .jp-OutputArea-output pre {font-size: 22px !important}"
    ".jp-Notebook .cm-editor {font-size: 20px !important} .jp-Notebook img {max-width: 100%}</style>"
)
_limit: float | None = None


def limit() -> float | None:
    """Seconds that a cell may take on stage, or None where stage mode is off."""
    if _limit is not None:
        return _limit or None
    given = os.environ.get("CANVASLAB_STAGE", "").strip().lower()
    if given in ("", "0", "no", "off", "false"):
        return None
    if given in ("1", "yes", "on", "true"):
        return SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"CANVASLAB_STAGE is {given!r}; it can be 1 (on), 0 (off) or a number of seconds, such as 30")
    return seconds


def scale() -> float:
    """What letters, lines and dots of figures are multiplied by: 1.3 on stage, else 1."""
    return 1.0 if limit() is None else SCALE


def stage(seconds: float = SECONDS) -> None:
    """Turn stage mode on for this kernel: larger letters, and cells over `seconds` load what ships. 0 turns it off."""
    global _limit
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"stage was given {seconds} seconds; it takes a positive number, or 0 to turn stage mode off")
    _limit = float(seconds)
    if not seconds:
        print("Stage mode is off.")
        return
    said = f"Stage mode: large letters; what would take over {seconds:g} s loads the result that ships, and says so."
    publish({"text/plain": said, "text/html": f"{CSS if in_notebook() else ''}<p>{said}</p>"})
