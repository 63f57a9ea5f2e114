"""How the report's figures look: colours that colour-blind people tell apart, labels, axes, a legend outside."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

INK, SOFT, LINE = "#1f2933", "#5b6770", "#dde3e8"
MATED, NON_MATED = "#0072b2", "#d55e00"
# Okabe & Ito 2008, "Color Universal Design", less its yellow, which is too light for a line on white.
RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vPX"
LINE_STYLES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (8, 2)), ":")
WIDTH = 7.8  # inches; a page shows it 780 pixels wide
LABEL_LENGTH = 60
LEGEND_CHARACTERS = 105  # that fit beside each other in a legend of the full width


def new_figure(
    height: float, rows: int = 1, columns: int = 1, *, share_x: bool = False, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of the page's width and its axes, row by row."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y)).ravel()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.grid(True, color=LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, labelsize=9)
    return figure, list(grid)


def colour(number: int) -> str:
    """Return the colour of the n-th run."""
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def marker(number: int) -> str:
    """Return the marker of the n-th run."""
    return MARKERS[number % len(MARKERS)]


def line_style(number: int) -> str | tuple[int, tuple[int, ...]]:
    """Return the line style of the n-th run; it differs from its neighbours' in print without colour too."""
    return LINE_STYLES[number % len(LINE_STYLES)]


def shades(count: int) -> list[str]:
    """Return colours from dark blue to ochre for things that have an order; lightness alone tells them apart."""
    scale = matplotlib.colormaps["viridis"]
    return [to_hex(scale(0.85 * number / max(count - 1, 1))) for number in range(count)]


def plain(text: str) -> str:
    """Return a label as it is drawn: one line, not too long, and no dollar sign that would start a formula."""
    line = "".join(char if char.isprintable() else " " for char in text)
    line = line if len(line) <= LABEL_LENGTH else line[: LABEL_LENGTH - 1] + "…"
    return line.replace("$", r"\$")


def legend_below(figure: Figure, entries: Axes | Sequence[Axes]) -> None:
    """Put one legend under the axes, each label once, in as many columns as fit."""
    labelled: dict[str, Artist] = {}
    for axes in entries if isinstance(entries, Sequence) else [entries]:
        handles, labels = axes.get_legend_handles_labels()
        labelled |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in labelled}
    if not labelled:
        return
    columns = max(1, min(len(labelled), LEGEND_CHARACTERS // (max(map(len, labelled)) + 6)))
    figure.legend(
        list(labelled.values()),
        list(labelled),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def log_counts(axes: Axes, sizes: Sequence[int] | None = None) -> None:
    """Make the x axis one of counts on a log scale, ticks written 1,000; at `sizes`, if they are few."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if sizes is not None and len(sizes) <= 8 and _far_apart(sizes):
        axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(LogLocator(10, numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def rate_ticks(axis: Axis) -> None:
    """Set the ticks of a log axis of rates whose limits are set: powers of ten, and between them where they are few."""
    low, high = axis.get_view_interval()
    near = high / low < 200
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if near else (1,), numticks=12))
    words = FuncFormatter(lambda value, _: f"{value:g}")
    axis.set_major_formatter(words if near or low >= 1e-4 else LogFormatterSciNotation(10))
    axis.set_minor_formatter(NullFormatter())


def percent_axis(axes: Axes, lowest: float) -> None:
    """Make the y axis one of percent, from a little under the lowest value to a little over 100."""
    room = max(100 - lowest, 0.5)
    axes.set_ylim(max(lowest - 0.06 * room, -0.02 * room), 100 + 0.04 * room)


def _far_apart(sizes: Sequence[int]) -> bool:
    """Whether the labels of these ticks do not run into each other on a log axis."""
    if min(sizes) <= 0:
        return False
    steps = np.diff(np.log(np.sort(np.array(sizes, np.float64))))
    whole = np.log(max(sizes) / min(sizes))
    return len(steps) == 0 or bool(steps.min() >= 0.09 * whole)
