"""The picture of a calibration: whether a probability is what it says, and an FPIR asked for is the one got.

Imported only when `faceid calibrate --report` asks for it: it needs matplotlib (the extra `report`).
"""

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from indexer.calibration.held_out import HeldOut
from indexer.errors import FaceIdError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "calibration.png"
NUMBERS = "calibration.json"
SCHEMA_VERSION = 1

_INK, _SOFT, _BLUE, _ORANGE = "#222222", "#999999", "#1f6fb4", "#d9772b"


class ReportError(FaceIdError):
    """The page cannot be drawn."""


def write_calibration_report(check: HeldOut, folder: Path) -> tuple[Path, Path]:
    """Draw calibration.png and write its numbers as calibration.json into the folder; return both paths.

    Raises ReportError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError("pictures need matplotlib: pip install 'faceid-engine[report]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 5), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, check)
    _draw_achieved(right, check)
    figure.savefig(folder / PICTURE)
    record = {"schema_version": SCHEMA_VERSION, **asdict(check)}
    (folder / NUMBERS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder / PICTURE, folder / NUMBERS


def _draw_reliability(axes: "Axes", check: HeldOut) -> None:
    axes.set_title("Is a probability what it says? (held-out people)", color=_INK)
    axes.set_xlabel("probability given to the best candidate, at even odds\n(grey: how many searches)")
    axes.set_ylabel("share that was the person")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if not check.reliability:
        axes.text(0.5, 0.5, fill(check.remark or "", 44), ha="center", va="center", color=_SOFT)
        return
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=1, linestyle="--", label="as promised")
    x = [one.probability for one in check.reliability]
    y = [one.right for one in check.reliability]
    errors = [
        [max(0.0, one.right - one.ci95[0]) for one in check.reliability],
        [max(0.0, one.ci95[1] - one.right) for one in check.reliability],
    ]
    axes.errorbar(x, y, yerr=errors, fmt="o-", color=_BLUE, capsize=3, markersize=5, label="counted, 95 % interval")
    for one in check.reliability:
        below = one.right > 0.5
        axes.annotate(
            f"{one.searches:,}",
            (one.probability, one.ci95[0] if below else one.ci95[1]),
            textcoords="offset points",
            xytext=(0, -12 if below else 5),
            ha="center",
            fontsize=7,
            color=_SOFT,
        )
    axes.legend(loc="upper left", frameon=False, title=f"Brier {check.brier:.4f}, log loss {check.log_loss:.4f}")


def _draw_achieved(axes: "Axes", check: HeldOut) -> None:
    axes.set_title("FPIR asked for, and got on held-out people", color=_INK)
    axes.set_xlabel("FPIR asked for")
    axes.set_ylabel("share of held-out strangers taken for somebody")
    shown = [one for one in check.achieved if one.rate is not None and one.ci95 is not None]
    if not shown:
        axes.text(0.5, 0.5, "too few searches for any of these rates", ha="center", va="center", color=_SOFT)
        return
    floor = min(one.fpir for one in shown) / 10
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1), aspect="equal")
    axes.plot([floor, 1], [floor, 1], color=_SOFT, linewidth=1, linestyle="--", label="as asked")
    for basis, colour in (("measured", _BLUE), ("extrapolated", _ORANGE)):
        rows = [one for one in shown if one.basis == basis]
        if not rows:
            continue
        rates = [max(one.rate or 0.0, floor) for one in rows]
        bounds = [one.ci95 or (0.0, 1.0) for one in rows]
        axes.errorbar(
            [one.fpir for one in rows],
            rates,
            yerr=[
                [rate - max(floor, min(low, rate)) for rate, (low, _) in zip(rates, bounds, strict=True)],
                [max(high, rate) - rate for rate, (_, high) in zip(rates, bounds, strict=True)],
            ],
            fmt="o",
            color=colour,
            capsize=3,
            markersize=5,
            label=f"threshold {basis}, 95 % interval",
        )
    for one in shown:
        axes.annotate(
            f"{one.alarms} of {one.searches:,}",
            (one.fpir, max(one.ci95[1] if one.ci95 else 0.0, floor)),
            textcoords="offset points",
            xytext=(0, 5),
            ha="center",
            fontsize=8,
            color=_INK,
        )
    axes.legend(loc="upper left", frameon=False)
