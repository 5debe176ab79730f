"""Showing things: as a rich output in a notebook, as one line of text anywhere else."""

import sys
from html import escape
from io import BytesIO


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


def publish_png(data: bytes, alt: str) -> None:
    """Show PNG bytes with their text alternative; outside a notebook the alternative is printed."""
    from base64 import b64encode

    if not isinstance(alt, str) or len(alt.split()) < 3:
        raise ValueError(f"alt={alt!r}: say in a sentence what the figure shows, for readers who cannot see it")
    alt = " ".join(alt.split())
    bundle = {"text/plain": f"[figure: {alt}]", "image/png": b64encode(data).decode()}
    if in_notebook():
        # JupyterLab drops the alternative of an image/png, so live it gets HTML; `run` does not store this copy
        bundle["text/html"] = f'<img alt="{escape(alt)}" src="data:image/png;base64,{bundle["image/png"]}">'
    publish(bundle, {"alt": alt, "image/png": {"alt": alt}})


def smaller(raw: BytesIO) -> bytes:
    """A PNG without transparency, and with 256 colours where that changes no pixel by more than 16 of 255."""
    import numpy as np
    from PIL import Image

    image = Image.open(raw).convert("RGB")
    few = image.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(image, np.int16) - np.asarray(few.convert("RGB"), np.int16)).max()
    out = BytesIO()
    (few if error <= 16 else image).save(out, format="PNG", optimize=True)
    return out.getvalue()
