"""Sphinx configuration: `python -m sphinx -W -b html docs docs/_build` builds these pages, warnings as errors."""

import re

from docutils import nodes

import dynsim

project = "dynsim"
author = copyright = "The dynsim developers"
release = version = dynsim.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
smartquotes = False

html_theme = "furo"
html_title = f"dynsim {release}"
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


def _as_equation(app, doctree):
    r"""Put tagged formulas into `equation`: Sphinx would wrap those of several rows in `split`, where \tag is refused."""
    for block in doctree.findall(nodes.math_block):
        text = block.astext()
        if r"\tag" in text and not block["nowrap"]:
            block["nowrap"] = True
            block.children = [nodes.Text(rf"\begin{{equation}}{text}\end{{equation}}")]
            block.rawsource = block.astext()


def _plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: `code` becomes code, indented formulas stay as they are, no other character is markup."""
    shown, literal = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        indented = line.startswith("    ")
        if indented and not before.strip() and not literal:
            shown += ["::", ""]
        literal = indented or (literal and not line.strip())
        if not literal:
            parts = re.split("`([^`]+)`", line)
            parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [f"``{part}``" for part in parts[1::2]]
            line = "".join(parts)
        shown.append(line)
    lines[:] = shown


def setup(app):
    app.connect("doctree-read", _as_equation)
    app.connect("autodoc-process-docstring", _plain_docstring)
