"""The page: sliders, pictures and a few lines of text. It draws what `answers.answer` says, and computes nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
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
    Select,
    Slider,
    Span,
    TextInput,
)
from bokeh.plotting import figure

from dynsim.errors import DynsimError
from dynsim.explore._run import objectives, sliding, text_of
from dynsim.explore._template import TEMPLATE, TEXT_STYLE
from dynsim.explore._texts import code, facts, patches, shaded
from dynsim.explore.answers import DEFAULTS, answer, read_settings

PAUSE = 15  # ms to wait for further moves of a slider before computing
ROLES = {  # as in dynsim.plots: colour says what is attended to, a line style each
    "own": ("#0072B2", "solid"), "global": ("#D55E00", "dashed"), "others": ("#009E73", "dashdot"),
    "masked": ("#E69F00", "dotted"), "self": ("#CC79A7", "dotted"),
}
BLACK, GREY, PURPLE = "#000000", "#666666", "#CC79A7"
DASHES = ([8, 3], [1, 3])  # the weight from which part of attention collapses, all of it; measured, theory for large P
PICTURES = {"fp": "FP correlation Φ", "pp": "PP correlation Υ", "attention": "area attention", "loss": "loss per masked patch"}
TERMS = {"reconstruction": BLACK, "contrastive": "#56B4E9"}  # parts of the loss, on an axis that is not logarithmic
COLLAPSE = ROLES["global"][0]
ADDRESS = "window.history.replaceState(null, '', cb_obj.text.replaceAll('&amp;', '&'))"  # the address bar follows the settings
DRAWN = {
    "fp": ("own", "global", "others"),
    "pp": ("own", "global", "others", "self"),
    "attention": ("own", "global", "others", "masked"),
}
OF_FIELDS = [name for name in DEFAULTS if any(name in sliding(objective) for objective in objectives())]
SLIDERS = {  # name: title, start, end, step
    "K": ("K, clusters", 1, 8, 1),
    "gamma": ("γ, masked fraction", 0.05, 0.95, 0.01),
    "P": ("log₁₀ P, patches", 1, 100, 0.1),
    "kappa_c": ("κ_c, global area P^κ_c", 0.05, 0.99, 0.01),
    "kappa_s": ("κ_s, local areas P^κ_s", 0.0, 0.99, 0.01),
    "L": ("L, smallest amplitude", 0.1, 2.0, 0.05),
    "U": ("U, largest amplitude", 0.1, 2.0, 0.05),
    "weight": ("α, weight of contrast", 0.0, 6.0, 0.05),
    "temperature": ("τ, temperature", 0.05, 2.0, 0.05),
}


class Page:
    """One page in one browser window: `document` filled with its widgets and pictures.

    Parameters
    ----------
    document : bokeh.document.Document
        To fill.
    settings : mapping
        What to begin with.
    refused : str
        Why a link was not taken; empty where it was.
    """

    def __init__(self, document: Document, settings: Mapping[str, Any], refused: str = "") -> None:
        self.document, self.settings = document, {**DEFAULTS, **settings}
        self.waiting = self.quiet = False  # whether an answer is due; whether widgets are being set from here
        self.curves = ColumnDataSource(name="curves", data={"t": []})
        self.theory = ColumnDataSource(name="theory", data={"t": [], "loss": []})
        self.phases = ColumnDataSource(name="phases", data={"start": [], "end": [], "color": []})
        self.escapes = ColumnDataSource(name="escapes", data={"t": [], "dash": []})
        self.collapses = ColumnDataSource(name="collapses", data={"t": [], "dash": []})
        self.levels = ColumnDataSource(name="levels", data={"depth": [], "floor": [], "collapsed": []})
        self.time = Range1d(start=1, end=10)
        self.place = ColumnDataSource(name="place", data={"kappa_c": [], "kappa_s": []})
        self.lines = ColumnDataSource(name="lines", data={"kappa_c": [], "large": [], "here": []})
        self.balance = ColumnDataSource(name="balance", data={"weight": [], "Delta": []})
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
        self.terms = self._terms()
        self.diagram, self.plane = self._diagram(), self._plane()
        self.objective = Select(
            name="objective", title="objective", options=list(objectives()), value=self.settings["objective"],
            sizing_mode="stretch_width", css_classes=["select-objective"],
        )
        self.objective.on_change("value", self._choose)
        widgets = [self.objective, *self.sliders.values(), self.number]
        controls = column(*widgets, name="controls", sizing_mode="stretch_width")
        pictures = (*self.pictures.values(), self.terms, self.diagram, self.plane)
        with document.models.freeze():  # Bokeh looks for the models of all roots, once
            for root in (controls, self.message, *pictures, self.facts, self.code, self.link):
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
        self.settings[name] = _meant(name, value)
        self._soon()

    def _choose(self, attribute: str, old: str, new: str) -> None:
        if not self.quiet:
            self.settings["objective"] = new
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

    def _tap_plane(self, event: Any) -> None:
        """Take the weight, and the kappa_s that has this Delta, (7)."""
        gap, kappa_c = float(event.y or 0.0), self.settings["kappa_c"]
        self.settings["weight"] = max(round(float(event.x or 0.0), 2), 0.0)
        self.settings["kappa_s"] = min(max(round(1 - gap - 2 * (1 - kappa_c), 2), 0.0), 0.99)
        self._set_widgets()
        self._soon()

    def _set_widgets(self) -> None:
        self.quiet = True
        for name, slider in self.sliders.items():
            if _meant(name, slider.value) != self.settings[name]:  # otherwise it may be moving: leave it
                slider.value = self._on_slider(name)
            slider.visible = name not in OF_FIELDS or name in sliding(self.settings["objective"])
        self.number.value, self.objective.value = text_of(self.settings["P"]), self.settings["objective"]
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
        for name in TERMS:
            columns[f"loss_{name}"] = [found["terms"][name][i] if name in found["terms"] else nan for i in seen]
        theory = found["predictions"]
        self.curves.data = columns
        self.theory.data = {"t": theory["late_t"], "loss": theory["late_loss"]}
        self.time.update(start=times[0], end=times[-1], reset_start=times[0], reset_end=times[-1])
        self.phases.data = shaded(found["phases"], times)
        escapes = [(theory["escape_time"], [8, 3]), (theory["escape_time_large"], [1, 3])]
        escapes = [one for one in escapes if one[0] is not None]
        self.escapes.data = {"t": [t for t, _ in escapes], "dash": [dash for _, dash in escapes]}
        collapses = zip((found["events"].get("collapse"), theory["collapse_time_large"]), DASHES, strict=True)
        known = [(t, dash) for t, dash in collapses if t is not None]
        self.collapses.data = {"t": [t for t, _ in known], "dash": [dash for _, dash in known]}
        depth, floor, collapsed = theory["global_depth"], theory["loss_floor"], theory.get("collapsed_attention")
        self.levels.data = {
            "depth": [nan if depth is None else depth],
            "floor": [floor if floor else nan],
            "collapsed": [nan if collapsed is None else collapsed],
        }
        weights = theory.get("critical_weight"), theory.get("collapse_weight")
        for span, weight in zip(self.thresholds, weights, strict=True):
            span.location, span.visible = weight, weight is not None
        s = found["settings"]
        across = [i / 100 for i in range(50, 101)]
        self.lines.data = {
            "kappa_c": across,
            "large": [1 - 2 * (1 - c) for c in across],
            "here": [1 - 2 * (1 - c) - found["boundary"] for c in across],
        }
        self.place.data = {"kappa_c": [s["kappa_c"]], "kappa_s": [s["kappa_s"]]}
        self.balance.data = {"weight": [s.get("weight", nan)], "Delta": [theory["Delta"]]}
        self.plane.visible, self.terms.visible = "weight" in s, bool(found["terms"])
        self.pictures["loss"].visible = not found["terms"]  # which may be negative, on a logarithmic axis
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
        picture.vspan("t", source=self.collapses, line_dash="dash", line_color=COLLAPSE)
        if name == "attention":
            picture.y_range = Range1d(start=-0.02, end=1.02)
            picture.hspan("collapsed", source=self.levels, line_color=COLLAPSE, line_dash=[2, 2])
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

    def _terms(self) -> figure:
        picture = figure(
            name="terms", title="parts of the loss", height=250, sizing_mode="stretch_width",
            x_axis_type="log", x_range=self.time,
            tools="pan,box_zoom,wheel_zoom,reset,save", toolbar_location="above", x_axis_label="time t = η × step",
        )
        _plain(picture)
        for name, color in TERMS.items():
            picture.line("t", f"loss_{name}", source=self.curves, line_color=color, line_width=2, legend_label=name)
        picture.legend.location, picture.legend.label_text_font_size = "bottom_left", "11px"
        return picture

    def _plane(self) -> figure:
        """The place in the plane of the weight and Delta, with the weights of the collapse where Delta is positive."""
        picture = figure(
            name="plane", css_classes=["picture-plane"], title="the place between collapse and diversity (a click moves it)",
            height=250, sizing_mode="stretch_width", x_range=Range1d(start=0.0, end=6.0), y_range=Range1d(start=-0.5, end=1.0),
            tools="tap", toolbar_location=None, x_axis_label="α, weight of contrast", y_axis_label="Δ, information gap",
        )
        _plain(picture)
        picture.line([0.0, 6.0], [0.0, 0.0], line_color="#E69F00", line_dash="dashed", line_width=2)
        self.thresholds = [Span(dimension="height", line_color=BLACK, line_width=2, line_dash=dash) for dash in DASHES]
        for span in self.thresholds:
            picture.add_layout(span)
        picture.scatter("weight", "Delta", source=self.balance, size=14, fill_color="#D55E00", line_color="white")
        picture.on_event(Tap, self._tap_plane)
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


def _meant(name: str, value: float) -> float:
    """The setting that a slider at this value stands for."""
    return patches(value) if name == "P" else round(float(value), 6)  # 0.81, not 0.8099999999999999


def _plain(picture: Any) -> None:
    picture.toolbar.logo = None
    picture.toolbar.autohide = True
    picture.title.text_font_style = "normal"
    picture.xaxis.axis_label_text_font_style = picture.yaxis.axis_label_text_font_style = "normal"
    if "log" not in type(picture.yaxis[0]).__name__.lower():
        picture.yaxis.formatter = BasicTickFormatter(precision=1)
    picture.grid.grid_line_alpha = 0.3
    picture.min_border_right = 16
