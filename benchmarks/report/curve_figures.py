"""The curves that people expect: CMC, ROC, DET, and FNIR against FPIR.

One run shows its curves in one panel. Several runs share panels: one for each label, the runs laid over each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.figure_style import (
    INK,
    SOFT,
    colour,
    legend_below,
    line_style,
    log_counts,
    new_figure,
    percent_axis,
    plain,
    rate_ticks,
    shades,
)
from benchmarks.report.wording import Runs
from benchmarks.results.results import Curve, OpenSetRow, Points, Rate, Results, VerificationRow
from indexer.decision.decision import RULE_OF_THREE

Item = TypeVar("Item")

MOST_CURVES = 8  # of one run in one panel
MOST_PANELS = 6  # of several runs
CELLS = 600  # along the x axis; more points are not seen


@dataclass(frozen=True)
class CurveKind:
    """One kind of curve: its title, its axes, where a run keeps its curves and the rows with intervals on them."""

    title: str
    x_label: str
    y_label: str
    curves: Callable[[Results], Sequence[Curve]]
    rows: Callable[[Results], Sequence[VerificationRow] | Sequence[OpenSetRow]] = lambda _: ()
    x_is_rank: bool = False
    log_y: bool = False


CURVE_KINDS = (
    CurveKind(
        "CMC",
        "rank",
        "mate at this rank or better, %",
        lambda results: results.curves.cmc,
        x_is_rank=True,
    ),
    CurveKind(
        "CMC, traditional",
        "rank",
        "mate at this rank or better, %",
        lambda results: results.curves.traditional_cmc,
        x_is_rank=True,
    ),
    CurveKind(
        "ROC",
        "false accept rate (FAR)",
        "true accept rate (TAR), %",
        lambda results: results.curves.roc,
        rows=lambda results: results.verification,
    ),
    CurveKind(
        "DET",
        "false accept rate (FAR)",
        "false non-match rate (FNMR)",
        lambda results: results.curves.det,
        rows=lambda results: results.verification,
        log_y=True,
    ),
    CurveKind(
        "FNIR against FPIR",
        "false positive identification rate (FPIR)",
        "false negative identification rate (FNIR)",
        lambda results: results.curves.fnir_fpir,
        rows=lambda results: results.open_set,
        log_y=True,
    ),
)


def curve_figure(kind: CurveKind, runs: Runs) -> Figure | None:
    """Draw one kind of curve of all runs; None where no run has a point that these axes can show.

    Points at a rate of 0 have no place on a log axis. A dotted line stands at 3 / trials: to its left fewer than three
    events are expected, too few to carry a rate (the rule of three).
    """
    with_curves = [(name, results) for name, results in runs if any(_drawn(kind, c) for c in kind.curves(results))]
    if not with_curves:
        return None
    if len(with_curves) == 1:
        figure, panels = new_figure(4.4)
        _draw_one_run(panels[0], kind, with_curves[0][1])
        panels[0].set(xlabel=kind.x_label, ylabel=kind.y_label)
    else:
        figure, panels = _panels(kind, with_curves)
    for axes in panels:
        _set_scales(axes, kind, min(axes.dataLim.ymin for axes in panels))
    legend_below(figure, panels)
    return figure


def labels_of(kind: CurveKind, runs: Runs) -> list[str]:
    """Return the labels of the curves of all runs, each once, in the order they come."""
    return list(dict.fromkeys(_label(curve, results) for _, results in runs for curve in kind.curves(results)))


def labels_left_out(kind: CurveKind, runs: Runs) -> int:
    """Return how many labels the figure does not show, being too many for it."""
    return max(0, len(labels_of(kind, runs)) - (MOST_CURVES if len(runs) == 1 else MOST_PANELS))


def _draw_one_run(axes: Axes, kind: CurveKind, results: Results) -> None:
    curves = _spread(kind.curves(results), MOST_CURVES)
    for curve, shade in zip(curves, shades(len(curves)), strict=True):
        axes.plot(*_drawn_points(kind, curve), color=shade, linewidth=1.8, label=plain(curve.label), zorder=3)
    points = _interval_points(kind, results)
    if points:
        x, y, low, high = np.array(points).T
        label = "at the asked rate, 95 %, largest N" if len(curves) > 1 else "at the asked rate, 95 % interval"
        axes.errorbar(
            x, y, [y - low, high - y], fmt="o", color=INK, markersize=4, capsize=3, linewidth=1.1, label=label, zorder=5
        )
    _draw_limits(axes, kind, [results])


def _panels(kind: CurveKind, runs: Runs) -> tuple[Figure, list[Axes]]:
    labels = _spread(labels_of(kind, runs), MOST_PANELS)
    rows, columns = math.ceil(len(labels) / 2), min(2, len(labels))
    height = 4.6 if len(labels) == 1 else 0.9 + 2.6 * rows
    figure, panels = new_figure(height, rows, columns, share_x=True, share_y=True)
    for axes in panels[len(labels) :]:
        axes.remove()
    panels = panels[: len(labels)]
    for axes, label in zip(panels, labels, strict=True):
        for number, (name, results) in enumerate(runs):
            for curve in kind.curves(results):
                if _label(curve, results) == label:
                    x, y = _drawn_points(kind, curve)
                    axes.plot(
                        x, y, color=colour(number), linestyle=line_style(number), linewidth=1.8, label=plain(name)
                    )
        _draw_limits(axes, kind, [results for _, results in runs])
        axes.set_title(plain(label), fontsize=10, color=INK)
    for axes in panels[-columns:]:  # the last of each column; a label of the whole figure would lie in the legend
        axes.set_xlabel(kind.x_label, fontsize=9)
        axes.tick_params(labelbottom=True)
    figure.supylabel(kind.y_label, fontsize=10, color=INK)
    return figure, panels


def _label(curve: Curve, results: Results) -> str:
    """Return what a curve is called without the name of its run, by which other runs' curves cannot be called."""
    return curve.label.removeprefix(results.name).lstrip(",: ")


def _draw_limits(axes: Axes, kind: CurveKind, runs: Sequence[Results]) -> None:
    trials = [max((_trials(row) for row in kind.rows(results)), default=0) for results in runs]
    for number, one in enumerate(trials):
        if one and one not in trials[:number]:
            shade = SOFT if len(set(trials)) == 1 else colour(number)
            axes.axvline(RULE_OF_THREE / one, color=shade, linestyle=":", linewidth=1.2, zorder=1)
    if any(trials):
        axes.plot([], [], color=SOFT, linestyle=":", linewidth=1.2, label="3 / trials (rule of three)")


def _set_scales(axes: Axes, kind: CurveKind, lowest: float) -> None:
    axes.set_xscale("log")
    if kind.log_y:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * lowest, 1.15)
        rate_ticks(axes.yaxis)
    else:
        percent_axis(axes, lowest)
    if kind.x_is_rank:
        log_counts(axes)
    else:
        rate_ticks(axes.xaxis)


def _drawn(kind: CurveKind, curve: Curve) -> bool:
    return len(_drawn_points(kind, curve)[0]) > 0


def _drawn_points(kind: CurveKind, curve: Curve) -> tuple[Points, Points]:
    """Return the points that these axes can show, thinned to what the eye can tell apart; linear rates in percent."""
    shown = np.isfinite(curve.x) & np.isfinite(curve.y) & (curve.x > 0)
    if kind.log_y:
        shown &= curve.y > 0
    x, y = curve.x[shown], curve.y[shown]
    if len(x) > 2 * CELLS:
        cell = np.floor(np.log(x / x.min()) / np.log(x.max() / x.min()) * CELLS)
        changes = np.flatnonzero(np.diff(cell))
        kept = np.unique(np.concatenate([[0], changes, changes + 1, [len(x) - 1]]))
        x, y = x[kept], y[kept]
    return x, y if kind.log_y else 100 * y


def _interval_points(kind: CurveKind, results: Results) -> list[tuple[float, float, float, float]]:
    """Return x, y and the bounds of y of the rows at the largest number of distractors, in the axes' units."""
    rows: list[VerificationRow | OpenSetRow] = list(kind.rows(results))
    largest = max((row.distractors or 0 for row in rows), default=0)
    rows = [row for row in rows if (row.distractors or 0) == largest]
    points = []
    for row in rows:
        if row.set == min(row.set for row in rows):
            asked, rate = (row.far, row.tar) if isinstance(row, VerificationRow) else (row.fpir, row.fnir)
            points.append((asked, *_in_units(kind, row, rate)))
    return [point for point in points if point[0] > 0 and point[1] > 0]


def _in_units(kind: CurveKind, row: VerificationRow | OpenSetRow, rate: Rate) -> tuple[float, float, float]:
    low, high = rate.ci95_clustered or rate.ci95
    low, high = min(low, rate.rate), max(high, rate.rate)
    if not kind.log_y:
        return 100 * rate.rate, 100 * low, 100 * high
    if isinstance(row, VerificationRow):  # DET: FNMR = 1 - TAR
        return 1 - rate.rate, 1 - high, 1 - low
    return rate.rate, low, high


def _trials(row: VerificationRow | OpenSetRow) -> int:
    return row.impostor_trials if isinstance(row, VerificationRow) else row.non_mated_searches


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[number] for number in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]
