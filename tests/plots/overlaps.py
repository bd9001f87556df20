"""What is wrong with the texts of a figure at its size: outside of it, or one on another."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg

ROOM = 0.5  # points by which the boxes of texts, which have a margin, may overlap


def texts(figure):
    """All texts that are seen, with their boxes in pixels; the labels of ticks only inside the view."""
    FigureCanvasAgg(figure).draw()
    found = list(figure.texts)
    for entry in [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]:
        found += entry.get_texts()
    for ax in figure.axes:
        found += [*ax.texts, ax.title, ax._left_title, ax._right_title]
        if not ax.axison:
            continue
        for axis in (ax.xaxis, ax.yaxis):
            found += [axis.label, axis.get_offset_text()]
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if low <= tick.get_loc() <= high:
                    found += [tick.label1]
    seen = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in seen]


def faults(figure):
    """One line for each fault."""
    room = ROOM * figure.dpi / 72
    whole, boxes = figure.bbox, texts(figure)
    wrong = [
        f"clipped: {name!r}" for name, box in boxes
        if box.x0 < whole.x0 - room or box.y0 < whole.y0 - room or box.x1 > whole.x1 + room or box.y1 > whole.y1 + room
    ]
    for (name, a), (other, b) in combinations(boxes, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > room and min(a.y1, b.y1) - max(a.y0, b.y0) > room:
            wrong.append(f"overlap: {name!r} and {other!r}")
    return wrong
