"""What theory predicts of a run, as numbers by name, to put beside what is measured.

Names end in "_theory" for the limit of large P and in "_closed" for a closed form at this P, which may take tenths of a second.
"""

from dynsim.model.problem import Problem
from dynsim.theory.balance import collapse_weight, collapsed_attention, critical_weight, mixed_escape_time
from dynsim.theory.contrastive import collapse_time
from dynsim.theory.reconstruction import escape_time, global_depth

Numbers = dict[str, float | None]


def predictions(problem: Problem, query: str, closed: bool = True) -> Numbers:
    """Return what theory predicts for the escape and the depth of a query type in reconstruction.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type: L or G for each cluster.
    closed : bool
        Whether closed forms at this P are among them.

    Returns
    -------
    dict
        Times "escape_time_theory" (eq. 8, 11) and "escape_time_closed" (eq. 15), depths "global_depth_theory" (eq. 9) and
        "global_depth_closed" (eq. 16); None for the depth of an all-global query type.

    Examples
    --------
    >>> import dynsim
    >>> found = dynsim.theory.predictions(dynsim.Problem(K=2, gamma=0.75, P=1e12), "GG")
    >>> sorted(name for name, value in found.items() if value is None)
    ['global_depth_closed', 'global_depth_theory']
    """
    area = max(query)  # "L" where a query is local in any cluster: whose attention is measured
    forms = _forms(closed)
    return {
        **{f"escape_time_{name}": escape_time(problem, area, finite) for name, finite in forms.items()},
        **{f"global_depth_{name}": global_depth(problem, finite) if area == "L" else None for name, finite in forms.items()},
    }


def contrastive_predictions(
    problem: Problem, query: str, temperature: float = 0.5, stop_gradient: bool = True, closed: bool = True
) -> Numbers:
    """Return what theory predicts for the collapse of a query type in contrastive learning alone.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type: L or G for each cluster.
    temperature : float
        The tau of the loss.
    stop_gradient : bool
        Whether only one view of a pair learns.
    closed : bool
        Whether closed forms at this P are among them.

    Returns
    -------
    dict
        "collapse_time_theory" (E8) and "collapse_time_closed" (E9), the same for all query types; None for the all-global one,
        to which the global area is its own.

    Examples
    --------
    >>> import dynsim
    >>> found = dynsim.theory.contrastive_predictions(dynsim.Problem(K=2, P=1e12), "LG")
    >>> 1 < found["collapse_time_closed"] / found["collapse_time_theory"] < 1.1
    True
    """
    local = "L" in query
    return {
        f"collapse_time_{name}": collapse_time(problem, stop_gradient, finite, temperature) if local else None
        for name, finite in _forms(closed).items()
    }


def mixed_predictions(
    problem: Problem, query: str, weight: float = 1.0, temperature: float = 0.5, closed: bool = True, stop_gradient: bool = True
) -> Numbers:
    """Return what theory predicts for the escape of a query type under L_rec + weight P L_con.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type: L or G for each cluster.
    weight : float
        The alpha of the loss.
    temperature : float
        The tau of the contrastive loss.
    closed : bool
        Whether closed forms at this P are among them.
    stop_gradient : bool
        Whether only one view of a pair learns; both learn as one does at twice the weight, to a good approximation for random z.

    Returns
    -------
    dict
        As `predictions` for weight 0. Else escape times, with the delay of local queries for Delta > 0 (E18), None where there is
        no escape; depths and "collapse_time_theory" are None, as no closed forms are known.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> f"{dynsim.theory.mixed_predictions(problem, 'LLLL', weight=2.0, closed=False)['escape_time_theory']:.3g}"
    '2.98e+09'
    """
    found = predictions(problem, query, closed)
    if weight > 0:
        found.update(dict.fromkeys([name for name in found if "depth" in name]))
    if "L" in query and problem.Delta > 0 and weight > 0:
        for name, finite in _forms(closed).items():
            time = mixed_escape_time(problem, weight * _views(stop_gradient), temperature, finite)
            found[f"escape_time_{name}"] = time if time < float("inf") else None
    return {**found, "collapse_time_theory": None}


def mixed_thresholds(problem: Problem, weight: float = 1.0, temperature: float = 0.5, stop_gradient: bool = True) -> Numbers:
    """Return the weights at which attention of local queries collapses, and how far it does at a weight.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    weight : float
        The alpha of the loss.
    temperature : float
        The tau of the contrastive loss.
    stop_gradient : bool
        As for `mixed_predictions`.

    Returns
    -------
    dict
        "critical_weight" (E13) and "collapse_weight" (E15, E17), for large P, and "collapsed_attention" at this P (E12); None
        where they are infinite, and for Delta <= 0, where own attention escapes before.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> {name: round(value, 3) for name, value in dynsim.theory.mixed_thresholds(problem, 2.0).items()}
    {'critical_weight': 1.067, 'collapse_weight': 2.77, 'collapsed_attention': 0.863}
    """
    names = ("critical_weight", "collapse_weight", "collapsed_attention")
    if problem.Delta <= 0:
        return dict.fromkeys(names)
    views = _views(stop_gradient)
    attention = collapsed_attention(problem, weight * views, temperature, finite=True)
    values = critical_weight(problem) / views, collapse_weight(problem, temperature) / views, attention
    return {name: value if value < float("inf") else None for name, value in zip(names, values, strict=True)}


def _views(stop_gradient: bool) -> float:
    """How many views of a pair learn."""
    return 1.0 if stop_gradient else 2.0


def _forms(closed: bool) -> dict[str, bool]:
    """Endings of names, and whether each takes the sizes of this P."""
    return {"theory": False, "closed": True} if closed else {"theory": False}
