"""Sphinx configuration: `python -m sphinx -W -b html docs docs/_build` builds these pages, warnings as errors, without network.

DYNSIM_GALLERY=full makes the figures of the gallery in full (some minutes), instead of small versions (about one).
"""

import os
import re
import sys
from pathlib import Path

from docutils import nodes

import dynsim

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # _gallery.py, for sphinx-gallery

project = "dynsim"
author = copyright = "The dynsim developers"
release = version = dynsim.__version__

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax", "sphinx-mathjax-offline",
    "sphinx_design", "sphinx_copybutton", "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "**/*.ipynb", "**/sg_execution_times.rst"]
suppress_warnings = ["config.cache"]
smartquotes = False
default_role = "code"

html_theme = "furo"
html_title = f"dynsim {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["dynsim.css"]
mathjax_path = "mathjax/tex-chtml.js"  # what sphinx-mathjax-offline copies beside the pages
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../scripts",
    "gallery_dirs": "gallery",
    "filename_pattern": r"figure_",
    "ignore_pattern": r"(^|/)(?!figure_)\w+\.py$",
    "reset_argv": "_gallery.command_line",
    "image_scrapers": ("_gallery.pictures",),
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": (),
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,  # its page asks for scripts from far away
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "plot_gallery": os.environ.get("DYNSIM_GALLERY") != "none",
}


def _as_equation(app, doctree):
    r"""Put tagged formulas into `equation`: Sphinx would wrap those of several rows in `split`, where \tag is refused."""
    for block in doctree.findall(nodes.math_block):
        text = block.astext()
        if r"\tag" in text and not block["nowrap"]:
            block["nowrap"] = True
            block.children = [nodes.Text(rf"\begin{{equation}}{text}\end{{equation}}")]
            block.rawsource = block.astext()


def _as_it_is(app, what, name, obj, options, lines):
    """What is no markup in docstrings: bars of |x|, and, before the numpydoc sections, the layout of indented formulas."""
    shown, literal, text = [], False, True
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        text = text and not (after.strip() and set(after.strip()) == {"-"})  # a section begins
        if text and line.startswith("    ") and not before.strip() and not literal and not (shown and shown[-1].endswith("::")):
            shown += ["::", ""]
        literal = text and (line.startswith("    ") or (literal and not line.strip()))
        if not literal and not line.lstrip().startswith((">>>", "...")):
            parts = re.split("(`+[^`]+`+)", line)
            parts[::2] = [re.sub(r"(?<!\\)\|", r"\|", part) for part in parts[::2]]
            line = "".join(parts)
        shown.append(line)
    lines[:] = shown


def _back_to_the_name(app, pagename, templatename, context, doctree):
    """Mend links from sources back to the API: viewcode takes it that a module shows all its names under one other name."""
    known = app.env.get_domain("py").objects
    if not pagename.startswith("_modules/dynsim"):
        return

    def mended(match):
        tail = match[2].partition(".")[2]
        real = [] if match[2] in known else [name for name in known if name.endswith("." + tail)]
        return match[1] + (real[0] if len(real) == 1 else match[2])

    context["body"] = re.sub(r'(api\.html#)([\w.]+)', mended, context["body"])


def _array_like(app, what, name, obj, options, signature, returned):
    """Say ArrayLike where annotations are spelled out to what numpy means by it."""
    return re.sub(r"[\w.~]*Buffer \|.*?_NestedSequence\[[\w.~ |]*str\]", "ArrayLike", signature or "") or signature, returned


def setup(app):
    app.connect("autodoc-process-signature", _array_like)
    app.connect("html-page-context", _back_to_the_name)
    app.connect("autodoc-process-docstring", _as_it_is, priority=400)  # before numpydoc
    app.connect("doctree-read", _as_equation)
