"""Figures for a two-column paper; the only package that imports matplotlib.

Every function draws on the Axes it is given; ``figure`` makes some at the width of one or of two columns, ``save`` writes PNG,
PDF or SVG whose bytes repeat. Time is t = eta x step, losses are per masked patch.
"""

from dynsim.plots.areas import area_map, area_maps
from dynsim.plots.curves import by_area, curves
from dynsim.plots.generalisation import excess, losses
from dynsim.plots.maps import attention_map
from dynsim.plots.movie import frame, movie, save_movie
from dynsim.plots.overlay import deviation
from dynsim.plots.phase_diagram import collapse_diagram, phase_diagram
from dynsim.plots.pictures import picture_summary
from dynsim.plots.run import shade, summary
from dynsim.plots.style import (
    BLACK,
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    IN_GLOBAL,
    LOSS,
    ORANGE,
    PANELS,
    PURPLE,
    RED,
    ROLES,
    SHADES,
    SINGLE,
    SKY,
    STYLE,
    TIME,
    few_log_labels,
    figure,
    legend,
    log_time,
    save,
)

__all__ = [
    "BLACK", "BLUE", "DOUBLE", "GREEN", "GREY", "IN_GLOBAL", "LOSS", "ORANGE", "PANELS", "PURPLE", "RED", "SHADES", "SINGLE",
    "SKY", "ROLES", "STYLE", "TIME", "area_map", "area_maps", "attention_map", "by_area", "collapse_diagram", "curves",
    "deviation", "excess", "few_log_labels", "figure", "frame", "legend", "log_time", "losses", "movie", "phase_diagram",
    "picture_summary", "save", "save_movie", "shade", "summary",
]
