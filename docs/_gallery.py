"""How sphinx-gallery runs the figure scripts: each with its own command line, into a folder of its own, whose PNG it shows."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

FULL = os.environ.get("DYNSIM_GALLERY") == "full"  # else small versions
OUT = Path(tempfile.mkdtemp(prefix="dynsim-gallery-"))
shown = set()
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph


def command_line(gallery_conf, script_vars):
    """What the script finds behind its name on the command line."""
    return ["--out", str(OUT), *([] if FULL else ["--quick"])]


def pictures(block, block_vars, gallery_conf):
    """The PNG files that a block of code has written, as reStructuredText."""
    found = []
    for path in sorted(OUT.glob("*.png")):
        if path.name not in shown:
            shown.add(path.name)
            found.append(next(block_vars["image_path_iterator"]))
            shutil.copy(path, found[-1])
    return figure_rst(found, gallery_conf["src_dir"])
