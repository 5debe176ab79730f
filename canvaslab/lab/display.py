"""Showing things: as a rich output in a notebook, as one line of text anywhere else."""

import sys


def in_notebook() -> bool:
    """True inside a Jupyter kernel; False in a script, a test or a terminal. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def publish(bundle: dict, metadata: dict | None = None) -> None:
    """Show a bundle {mimetype: data}; outside a notebook its "text/plain" is printed, so every bundle has one."""
    if in_notebook():
        from IPython.display import display

        display(bundle, metadata=metadata or {}, raw=True)
    else:
        print(bundle["text/plain"])
