"""Notebooks as web pages: what nbconvert leaves out."""

from html import escape
from typing import Any

from nbconvert.preprocessors import Preprocessor


class AltText(Preprocessor):
    """Give every exported picture its text alternative: `HTMLExporter(preprocessors=[AltText])`.

    nbconvert's lab and slide templates drop the "alt" of an image's metadata, its classic template keeps it.
    """

    def preprocess_cell(self, cell: Any, resources: dict, index: int) -> tuple[Any, dict]:
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("alt")
            if alt and "image/png" in output.get("data", {}):
                source = f"data:image/png;base64,{output['data'].pop('image/png')}"
                output["data"]["text/html"] = f'<img alt="{escape(alt)}" src="{source}">'
        return cell, resources
