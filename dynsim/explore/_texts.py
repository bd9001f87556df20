"""What of an answer becomes text or numbers on the page, without any widget."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

SHADES = ("#F2F2F2", "#E0E0E0", "#F2F2F2")


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
        ("collapse time", found["events"].get("collapse"), theory["collapse_time"], theory["collapse_time_large"]),
        ("global FP at the escape", found["measured_depth"], theory["global_depth"], theory["global_depth_large"]),
        ("largest attention on the global area", max(found["attention"]["global"]), theory.get("collapsed_attention"), None),
        ("loss at the end, floor", found["loss"][-1], theory["loss_floor"], None),
    ]
    body = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{'–' if v is None else f'{v:.4g}'}</td>" for v in values) + "</tr>"
        for name, *values in rows
    )
    alone = " without contrast" if "critical_weight" in theory else ""
    gap = f"Δ = {round(theory['Delta'], 9):.3g}: {theory['regime']} for large P{alone}; this run: {found['regime']}."
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
