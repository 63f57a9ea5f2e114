"""The histograms of mated and non-mated similarities: as densities, and on a log axis where the tails show."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.figure_style import MATED, NON_MATED, colour, legend_below, new_figure, plain
from benchmarks.report.wording import Runs
from benchmarks.results.results import Histogram

WORDS = {"mated": "mated", "non_mated": "non-mated"}


def histogram_figure(runs: Runs) -> Figure | None:
    """Draw the histograms of all runs, each as a density, so that it has the same area whatever its count and bins."""
    drawn = [(name, one) for name, results in runs for one in results.histograms if one.counts.sum() > 0]
    if not drawn:
        return None
    figure, (linear, logarithmic) = new_figure(5.6, rows=2, share_x=True)
    names = list(dict.fromkeys(name for name, _ in drawn))
    for name, histogram in drawn:
        if len(names) == 1:
            _fill(linear, histogram)
            _fill(logarithmic, histogram)
        else:
            _outline(linear, histogram, name, names.index(name))
            _outline(logarithmic, histogram, name, names.index(name))
    linear.set_ylabel("density")
    logarithmic.set_ylabel("density, log")
    logarithmic.set_yscale("log")
    logarithmic.set_xlabel("similarity (cosine)")
    low = min(histogram.edges[np.flatnonzero(histogram.counts)[0]] for _, histogram in drawn)
    high = max(histogram.edges[np.flatnonzero(histogram.counts)[-1] + 1] for _, histogram in drawn)
    linear.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    legend_below(figure, linear)
    return figure


def _fill(axes: Axes, histogram: Histogram) -> None:
    shade = MATED if histogram.kind == "mated" else NON_MATED
    axes.stairs(
        _density(histogram),
        histogram.edges,
        fill=True,
        color=shade,
        alpha=0.55,
        label=f"{WORDS[histogram.kind]}, {histogram.counts.sum():,} scores",
    )
    axes.stairs(_density(histogram), histogram.edges, color=shade, linewidth=1)


def _outline(axes: Axes, histogram: Histogram, name: str, number: int) -> None:
    axes.stairs(
        _density(histogram),
        histogram.edges,
        color=colour(number),
        linestyle="-" if histogram.kind == "mated" else "--",
        linewidth=1.4,
        label=plain(f"{name}: {WORDS[histogram.kind]}"),
    )


def _density(histogram: Histogram) -> np.ndarray:
    """Return counts as a probability density over the similarity."""
    density: np.ndarray = histogram.counts / (histogram.counts.sum() * np.diff(histogram.edges))
    return density
