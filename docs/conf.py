"""The course as a web site, made by `make site`: committed outputs as they are, nothing executed, no network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import maths

project = "canvaslab"
author = "canvaslab contributors"
copyright = "canvaslab contributors, MIT licence"
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_title = "canvaslab"
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_sourcelink = False
smartquotes = False
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3


def setup(app):
    """Maths that need no script: MathML, which browsers draw by themselves."""
    app.add_html_math_renderer("mathml", (maths.inline, None), (maths.block, None))
