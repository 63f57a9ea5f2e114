"""Figures over the number of distractors: rank-1 as measured, and predictions beside measurements."""

from collections.abc import Sequence

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
    marker,
    new_figure,
    percent_axis,
    plain,
    rate_ticks,
)
from benchmarks.report.wording import Runs, is_share, words
from benchmarks.results.results import IdentificationRow, Prediction, Results

ON_LOG_AXIS = ("fpir", "fnir", "far")


def rank1_figure(runs: Runs) -> Figure | None:
    """Draw rank-1 against the number of distractors, on a log axis, with its 95 % interval.

    The line goes through the mean of the distractor sets; the bar reaches from the lowest to the highest bound of any.
    """
    drawn = [(name, results) for name, results in runs if any(row.distractors > 0 for row in results.identification)]
    if not drawn:
        return None
    figure, (axes,) = new_figure(4.0)
    all_sizes = sorted({row.distractors for _, r in drawn for row in r.identification if row.distractors > 0})
    lowest = 100.0
    for number, (name, results) in enumerate(drawn):
        sizes, means, lows, highs = _over_distractors(results.identification)
        beside = _beside(sizes, np.array(all_sizes), number, len(drawn))
        axes.errorbar(
            beside,
            means,
            [means - lows, highs - means],
            color=colour(number),
            linestyle=line_style(number),
            marker=marker(number),
            markersize=5,
            capsize=3,
            linewidth=1.6,
            elinewidth=1,
            label=plain(name),
        )
        lowest = min(lowest, float(lows.min()))
    axes.set_xlabel("distractors")
    axes.set_ylabel("rank-1, %")
    percent_axis(axes, lowest)
    log_counts(axes, all_sizes)
    if len(drawn) > 1:
        legend_below(figure, axes)
    return figure


def prediction_figure(results: Results) -> Figure | None:
    """Draw predictions (dashed, hollow) and the measurements (solid, filled) of one run, a panel for each quantity.

    The shade begins beyond the last measurement: nothing there was seen.
    """
    quantities = list(dict.fromkeys(prediction.quantity for prediction in results.predictions))
    if not quantities:
        return None
    figure, panels = new_figure(0.7 + 2.9 * len(quantities), rows=len(quantities))
    for axes, quantity in zip(panels, quantities, strict=True):
        _draw_quantity(axes, quantity, results)
    legend_below(figure, panels)
    return figure


def _draw_quantity(axes: Axes, quantity: str, results: Results) -> None:
    predictions = [prediction for prediction in results.predictions if prediction.quantity == quantity]
    scale = 100 if is_share(quantity) else 1
    measured = _measured(quantity, predictions, results)
    sizes = sorted({*measured, *(p.distractors for p in predictions)})
    if measured:
        x, y = np.array(sorted(measured.items())).T
        axes.plot(x, scale * y, color=INK, marker="o", markersize=5, linewidth=1.8, label="measured", zorder=4)
    lowest = scale * min([*measured.values(), *(prediction.ci95[0] for prediction in predictions)])
    series = list(dict.fromkeys((prediction.method, prediction.fitted_on) for prediction in predictions))
    for number, (method, fitted_on) in enumerate(series):
        own = sorted(
            (p for p in predictions if (p.method, p.fitted_on) == (method, fitted_on)), key=lambda p: p.distractors
        )
        values = scale * np.array([p.value for p in own])
        bounds = scale * np.array([p.ci95 for p in own])
        axes.errorbar(
            _beside(np.array([p.distractors for p in own], np.float64), np.array(sizes), number, len(series)),
            values,
            [np.maximum(values - bounds[:, 0], 0), np.maximum(bounds[:, 1] - values, 0)],
            color=colour(number),
            linestyle="--",
            marker=marker(number),
            markerfacecolor="white",
            markersize=5,
            capsize=3,
            linewidth=1.3,
            elinewidth=1,
            label=plain(f"PREDICTED, {method}, from {fitted_on:,} distractors"),
        )
    axes.set_xlabel("distractors")
    axes.set_ylabel(f"{plain(words(quantity))}{', %' if is_share(quantity) else ''}")
    on_log_axis = quantity.split(" ")[0] in ON_LOG_AXIS
    if on_log_axis and lowest > 0:
        axes.set_yscale("log")
        rate_ticks(axes.yaxis)
    elif is_share(quantity) and not on_log_axis:
        percent_axis(axes, lowest)
    log_counts(axes, sizes)
    _shade_beyond(axes, max(measured) if measured else None)


def _shade_beyond(axes: Axes, last_measured: int | None) -> None:
    left, right = axes.get_xlim()
    begin = left if last_measured is None else last_measured * 1.15
    if begin < right:
        axes.axvspan(begin, right, color=SOFT, alpha=0.12, linewidth=0, label="not measured", zorder=0)
    axes.set_xlim(left, right)


def _measured(quantity: str, predictions: Sequence[Prediction], results: Results) -> dict[int, float]:
    """Return distractors -> the measured value, in the first distractor set."""
    known = {p.distractors: p.measured for p in predictions if p.measured is not None}
    rows = [(one.distractors, one.set, one.rank1.rate) for one in results.identification if quantity == "rank1"]
    asked = [row for row in results.open_set if quantity == f"threshold at FPIR {row.fpir:g}"]
    rows += [(row.distractors, row.set, row.threshold) for row in asked]
    first = min((number for _, number, _ in rows), default=0)
    return known | {size: value for size, number, value in rows if number == first and size > 0}


def _over_distractors(rows: Sequence[IdentificationRow]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return N, mean rank-1 over the sets, lowest and highest bound, in percent."""
    sizes = sorted({row.distractors for row in rows if row.distractors > 0})
    columns = []
    for size in sizes:
        rates = [row.rank1 for row in rows if row.distractors == size]
        bounds = np.array([rate.ci95_clustered or rate.ci95 for rate in rates])
        mean = float(np.mean([rate.rate for rate in rates]))
        columns.append((size, 100 * mean, 100 * min(mean, bounds[:, 0].min()), 100 * max(mean, bounds[:, 1].max())))
    size, mean, low, high = np.array(columns).T
    return size, mean, low, high


def _beside(sizes: np.ndarray, whole: np.ndarray, number: int, count: int) -> np.ndarray:
    """Move the n-th series a little aside on a log axis over `whole`, so that bars do not cover each other."""
    step = max(whole.max() / whole.min(), 2) ** 0.011
    moved: np.ndarray = sizes * step ** (number - (count - 1) / 2)
    return moved
