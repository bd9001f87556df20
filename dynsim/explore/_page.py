"""The page: sliders, six pictures and a few lines of text. It draws what `answers.answer` says, and computes nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10, nan
from typing import Any

from bokeh.document import Document
from bokeh.events import Tap
from bokeh.layouts import column
from bokeh.models import (
    BasicTickFormatter,
    ColumnDataSource,
    CustomJS,
    Div,
    HoverTool,
    Range1d,
    Slider,
    TextInput,
)
from bokeh.plotting import figure

from dynsim.errors import DynsimError
from dynsim.explore._run import DEFAULTS, text_of
from dynsim.explore._template import TEMPLATE, TEXT_STYLE
from dynsim.explore.answers import answer, read_settings

PAUSE = 15  # ms to wait for further moves of a slider before computing
ROLES = {  # as in dynsim.plots: colour says what is attended to, a line style each
    "own": ("#0072B2", "solid"), "global": ("#D55E00", "dashed"), "others": ("#009E73", "dashdot"),
    "masked": ("#E69F00", "dotted"), "self": ("#CC79A7", "dotted"),
}
BLACK, GREY, PURPLE = "#000000", "#666666", "#CC79A7"
SHADES = ("#F2F2F2", "#E0E0E0", "#F2F2F2")
PICTURES = {"fp": "FP correlation Φ", "pp": "PP correlation Υ", "attention": "area attention", "loss": "loss per masked patch"}
ADDRESS = "window.history.replaceState(null, '', cb_obj.text.replaceAll('&amp;', '&'))"  # the address bar follows the settings
DRAWN = {
    "fp": ("own", "global", "others"),
    "pp": ("own", "global", "others", "self"),
    "attention": ("own", "global", "others", "masked"),
}
SLIDERS = {  # name: title, start, end, step
    "K": ("K, clusters", 1, 8, 1),
    "gamma": ("γ, masked fraction", 0.05, 0.95, 0.01),
    "P": ("log₁₀ P, patches", 1, 100, 0.1),
    "kappa_c": ("κ_c, global area P^κ_c", 0.05, 0.99, 0.01),
    "kappa_s": ("κ_s, local areas P^κ_s", 0.0, 0.99, 0.01),
    "L": ("L, smallest amplitude", 0.1, 2.0, 0.05),
    "U": ("U, largest amplitude", 0.1, 2.0, 0.05),
}


class Page:
    """One page in one browser window: `document` filled with its widgets and pictures.

    Parameters
    ----------
    document : bokeh.document.Document
        To fill.
    settings : mapping of str to float
        What to begin with.
    refused : str
        Why a link was not taken; empty where it was.
    """

    def __init__(self, document: Document, settings: Mapping[str, float], refused: str = "") -> None:
        self.document, self.settings = document, {**DEFAULTS, **settings}
        self.waiting = self.quiet = False  # whether an answer is due; whether widgets are being set from here
        self.curves = ColumnDataSource(name="curves", data={"t": []})
        self.theory = ColumnDataSource(name="theory", data={"t": [], "loss": []})
        self.phases = ColumnDataSource(name="phases", data={"start": [], "end": [], "color": []})
        self.escapes = ColumnDataSource(name="escapes", data={"t": [], "dash": []})
        self.levels = ColumnDataSource(name="levels", data={"depth": [], "floor": []})
        self.time = Range1d(start=1, end=10)
        self.place = ColumnDataSource(name="place", data={"kappa_c": [], "kappa_s": []})
        self.lines = ColumnDataSource(name="lines", data={"kappa_c": [], "large": [], "here": []})
        self.facts, self.code, self.message = (
            Div(name=name, sizing_mode="stretch_width", stylesheets=[TEXT_STYLE]) for name in ("facts", "code", "message")
        )
        self.message.visible = False
        self.link = Div(name="link", visible=False)
        self.link.js_on_change("text", CustomJS(code=ADDRESS))
        self.sliders = {name: self._slider(name) for name in SLIDERS}
        self.number = TextInput(name="P_exactly", title="P, exactly", sizing_mode="stretch_width")
        self.number.on_change("value", self._number)
        self.pictures = {name: self._picture(name) for name in PICTURES}
        self.diagram = self._diagram()
        widgets = [self.number if name == "number" else self.sliders[name] for name in (*SLIDERS, "number")]
        controls = column(*widgets, name="controls", sizing_mode="stretch_width")
        for root in (controls, self.message, *self.pictures.values(), self.diagram, self.facts, self.code, self.link):
            document.add_root(root)
        document.title, document.template = "dynsim explore", TEMPLATE
        self.show()
        if refused:
            self._refuse(refused)

    # ---- what a person moves

    def _slider(self, name: str) -> Slider:
        title, start, end, step = SLIDERS[name]
        value = self._on_slider(name)
        slider = Slider(
            name=name, css_classes=[f"slider-{name}"], title=title, start=start, end=end, step=step, value=value,
            sizing_mode="stretch_width",
        )
        slider.on_change("value", lambda attribute, old, new: self._move(name, new))
        return slider

    def _on_slider(self, name: str) -> float:
        _, start, end, _ = SLIDERS[name]
        value = self.settings[name]
        if name == "P":
            value = log10(value) if value > 0 else start
        return min(max(value, start), end)

    def _move(self, name: str, value: float) -> None:
        if self.quiet:
            return
        self.settings[name] = patches(value) if name == "P" else round(float(value), 6)  # 0.81, not 0.8099999999999999
        self._soon()

    def _number(self, attribute: str, old: float, new: str) -> None:
        if self.quiet:
            return
        try:
            self.settings.update(P=read_settings({"P": new})["P"])
        except DynsimError as error:
            self._refuse(str(error))
        else:
            self._soon()

    def _tap(self, event: Any) -> None:
        for name, value in (("kappa_c", event.x), ("kappa_s", event.y)):
            self.settings[name] = min(max(round(float(value or 0.0), 2), 0.0), 0.99)
        self._set_widgets()
        self._soon()

    def _set_widgets(self) -> None:
        self.quiet = True
        for name, slider in self.sliders.items():
            slider.value = self._on_slider(name)
        self.number.value = text_of(self.settings["P"])
        self.quiet = False

    def _soon(self) -> None:
        """Compute once, however many moves come while a slider is dragged."""
        if not self.waiting:
            self.waiting = True
            self.document.add_timeout_callback(self.show, PAUSE)

    # ---- what it shows

    def show(self) -> None:
        """Compute the answer to the present settings and draw it; settings that make no problem get one line."""
        self.waiting = False
        try:
            found = answer(self.settings)
        except DynsimError as error:
            self._refuse(str(error))
            return
        self.message.visible = False
        self._draw(found)

    def _refuse(self, why: str) -> None:
        self.message.text = f'<p role="alert">{escape(why)}</p>'
        self.message.visible = True

    def _draw(self, found: Mapping[str, Any]) -> None:
        seen = [i for i, t in enumerate(found["t"]) if t > 0]
        times = [found["t"][i] for i in seen]
        columns = {"t": times, "loss": [found["loss"][i] for i in seen]}
        for name in ("fp", "pp", "attention"):
            for role in ROLES:
                values = found[name].get(role)
                columns[f"{name}_{role}"] = [nan if values is None or values[i] is None else values[i] for i in seen]
        theory = found["predictions"]
        self.curves.data = columns
        self.theory.data = {"t": theory["late_t"], "loss": theory["late_loss"]}
        self.time.update(start=times[0], end=times[-1], reset_start=times[0], reset_end=times[-1])
        self.phases.data = shaded(found["phases"], times)
        escapes = [(theory["escape_time"], [8, 3]), (theory["escape_time_large"], [1, 3])]
        escapes = [one for one in escapes if one[0] is not None]
        self.escapes.data = {"t": [t for t, _ in escapes], "dash": [dash for _, dash in escapes]}
        depth, floor = theory["global_depth"], theory["loss_floor"]
        self.levels.data = {"depth": [nan if depth is None else depth], "floor": [floor if floor > 0 else nan]}
        s = found["settings"]
        across = [i / 100 for i in range(50, 101)]
        self.lines.data = {
            "kappa_c": across,
            "large": [1 - 2 * (1 - c) for c in across],
            "here": [1 - 2 * (1 - c) - found["boundary"] for c in across],
        }
        self.place.data = {"kappa_c": [s["kappa_c"]], "kappa_s": [s["kappa_s"]]}
        self.facts.text = facts(found)
        self.code.text = code(found)
        self.link.text = escape(found["link"], quote=False)
        self._set_widgets()

    def _picture(self, name: str) -> figure:
        y_axis: dict[str, Any] = {"y_axis_type": "log"} if name == "loss" else {}
        picture = figure(
            name=name, title=PICTURES[name], height=250, sizing_mode="stretch_width",
            x_axis_type="log", x_range=self.time,
            tools="pan,box_zoom,wheel_zoom,reset,save", toolbar_location="above", x_axis_label="time t = η × step", **y_axis,
        )
        _plain(picture)
        picture.vstrip("start", "end", source=self.phases, fill_color="color", line_width=0, level="underlay")
        picture.vspan("t", source=self.escapes, line_dash="dash", line_color=GREY)
        if name == "fp":
            picture.hspan("depth", source=self.levels, line_color=ROLES["global"][0], line_dash=[2, 2])
        if name == "attention":
            picture.y_range = Range1d(start=-0.02, end=1.02)
        drawn: list[Any]
        if name == "loss":
            purple: dict[str, Any] = {"line_color": PURPLE, "line_dash": [6, 2, 2, 2]}
            picture.hspan("floor", source=self.levels, **purple)
            picture.line("t", "loss", source=self.theory, **purple)
            drawn = [picture.line("t", "loss", source=self.curves, line_color=BLACK, line_width=2)]
        else:
            drawn = [
                picture.line("t", f"{name}_{role}", source=self.curves, line_color=color, line_dash=dash, line_width=2)
                for role, (color, dash) in ROLES.items() if role in DRAWN[name]
            ]
        at = "loss" if name == "loss" else f"{name}_own"
        shown = [("t", "@t{0.000e+0}"), (at, f"@{at}{{0.0000e+0}}")]
        picture.add_tools(HoverTool(renderers=drawn[:1], mode="vline", tooltips=shown))
        return picture

    def _diagram(self) -> figure:
        picture = figure(
            name="diagram", css_classes=["picture-diagram"], title="the place in the phase diagram (a click moves it)",
            height=250, sizing_mode="stretch_width",
            x_range=Range1d(start=0.5, end=1.0), y_range=Range1d(start=0.0, end=1.0), tools="tap", toolbar_location=None,
            x_axis_label="κ_c (global areas)", y_axis_label="κ_s (local areas)",
        )
        _plain(picture)
        picture.varea("kappa_c", 0.0, "here", source=self.lines, fill_color="#56B4E9", fill_alpha=0.25)
        picture.line("kappa_c", "here", source=self.lines, line_color=BLACK, line_width=2)
        picture.line("kappa_c", "large", source=self.lines, line_color="#E69F00", line_dash="dashed", line_width=2)
        picture.text([0.97, 0.53], [0.1, 0.85], text=["two phases", "one phase"], text_align=["right", "left"], text_color=GREY)
        picture.scatter("kappa_c", "kappa_s", source=self.place, size=14, fill_color="#D55E00", line_color="white")
        picture.on_event(Tap, self._tap)
        return picture


def patches(exponent: float) -> float:
    """P from its logarithm, to three digits; whole below a thousand."""
    P = float(f"{10.0**exponent:.3g}")
    return float(round(P)) if P < 1e6 else P


def shaded(phases: Sequence[Mapping[str, Any]], times: Sequence[float]) -> dict[str, list]:
    """Where each phase that is on the picture begins and ends there, and its grey."""
    rows = []
    for phase, color in zip(phases, SHADES, strict=True):
        if phase["start"] is not None:
            start, end = max(phase["start"], times[0]), times[-1] if phase["end"] is None else phase["end"]
            rows += [(start, end, color)] if end > start else []
    return {name: [row[i] for row in rows] for i, name in enumerate(("start", "end", "color"))}


def facts(found: Mapping[str, Any]) -> str:
    """The numbers of an answer as an HTML table, measured beside predicted."""
    theory = found["predictions"]
    rows = [
        ("escape time", found["events"]["escape"], theory["escape_time"], theory["escape_time_large"]),
        ("global FP at the escape", found["measured_depth"], theory["global_depth"], theory["global_depth_large"]),
        ("loss at the end, floor", found["loss"][-1], theory["loss_floor"], None),
    ]
    body = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{'–' if v is None else f'{v:.4g}'}</td>" for v in values) + "</tr>"
        for name, *values in rows
    )
    gap = f"Δ = {round(theory['Delta'], 9):.3g}: {theory['regime']} for large P; this run: {found['regime']}."
    return (
        f"<p>{gap}</p><table><tr><th></th><th>measured</th><th>theory, this P</th><th>theory, large P</th></tr>{body}</table>"
    )


def code(found: Mapping[str, Any]) -> str:
    """The command, the Python and the links of an answer as HTML."""
    query = escape(found["link"])
    files = " ".join(
        f'<a href="figure.{ending}{query}" download="dynsim.{ending}">{ending.upper()}</a>' for ending in ("png", "pdf", "svg")
    )
    data = " ".join(
        f'<a href="data.{ending}{query}" download="dynsim.{ending}">{ending.upper()}</a>' for ending in ("csv", "json")
    )
    return (
        f'<p>Figure: {files} · Data: {data} · <a class="link" href="{query}">a link to these settings</a></p>'
        f"<p>The same run from the command line</p><pre>{escape(found['command'])}</pre>"
        f"<p>and in Python</p><pre>{escape(found['python'])}</pre>"
    )


def _plain(picture: Any) -> None:
    picture.toolbar.logo = None
    picture.toolbar.autohide = True
    picture.title.text_font_style = "normal"
    picture.xaxis.axis_label_text_font_style = picture.yaxis.axis_label_text_font_style = "normal"
    if "log" not in type(picture.yaxis[0]).__name__.lower():
        picture.yaxis.formatter = BasicTickFormatter(precision=1)
    picture.grid.grid_line_alpha = 0.3
    picture.min_border_right = 16
