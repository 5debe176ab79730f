"""LaTeX in a page becomes MathML."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def inline(page, node):
    """A formula in a line of text."""
    page.body.append(convert(node.astext()))
    raise SkipNode


def block(page, node):
    """A formula of its own."""
    page.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode
