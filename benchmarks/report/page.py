"""The report's page: one HTML file that holds its figures, tables and pictures, of one run or of several."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.report.curve_figures import CURVE_KINDS, CurveKind, curve_figure, labels_left_out
from benchmarks.report.distractor_figures import prediction_figure, rank1_figure
from benchmarks.report.html_page import figure_url, picture_url, render
from benchmarks.report.score_figures import histogram_figure
from benchmarks.report.tables import (
    accuracy_table,
    clustering_table,
    conventions_table,
    differences,
    differentials_table,
    groups_table,
    headlines,
    identification_table,
    open_set_table,
    prediction_table,
    provenance_table,
    refusal_table,
    verification_table,
)
from benchmarks.report.wording import Runs
from benchmarks.results.results import Provenance, Results, WorstError
from indexer.durable_file import replacing

TEMPLATE = "report/page.html.jinja"
PICTURE_SIDE = 160  # pixels, at most
MOST_ERRORS = 12  # shown of each kind and run


@dataclass(frozen=True)
class PageFigure:
    """A figure as it stands on the page: a data URL, its text for those who do not see it, what else to say of it."""

    url: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class ShownError:
    """A worst error with its two photos as data URLs, None where the file cannot be read."""

    error: WorstError
    probe: str | None
    other: str | None


def write_report(runs: Sequence[tuple[Results, Provenance]], folder: Path) -> Path:
    """Write index.html to the folder: one run, or several laid over each other; returns its path.

    The page needs nothing outside itself. Photos of the worst errors are in it if their files can be read now.
    Raises ValueError without any run.
    """
    if not runs:
        raise ValueError("no run to report")
    names = _distinct_names(runs)
    named = [(name, results) for name, (results, _) in zip(names, runs, strict=True)]
    provenances = [provenance for _, provenance in runs]
    html = render(
        TEMPLATE,
        title=_title(list(dict.fromkeys(results.protocol for results, _ in runs)), names),
        names=names,
        differences=differences(named, provenances),
        notes=_notes(named),
        headlines=headlines(named[0][1]) if len(named) == 1 else (),
        rank1=_drawn(rank1_figure(named), "rank-1 against the number of distractors"),
        curves={kind.title: _curve(kind, named) for kind in CURVE_KINDS},
        histograms=_drawn(histogram_figure(named), "mated and non-mated similarities"),
        predictions=[
            (name, figure)
            for name, results in named
            if (figure := _drawn(prediction_figure(results), "predictions beside measurements"))
        ],
        tables={
            "accuracy": accuracy_table(named),
            "identification": identification_table(named),
            "verification": verification_table(named),
            "open_set": open_set_table(named),
            "clustering": clustering_table(named),
            "groups": groups_table(named),
            "differentials": differentials_table(named),
            "predictions": prediction_table(named),
            "refusals": refusal_table(named),
            "conventions": conventions_table(named),
            "provenance": provenance_table(named, provenances),
        },
        errors=[(name, shown) for name, results in named if (shown := _shown_errors(results))],
    )
    page = folder / "index.html"
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return page


def _title(protocols: Sequence[str], names: Sequence[str]) -> str:
    return f"{', '.join(protocols)}: {', '.join(names) if len(names) < 4 else f'{len(names)} runs'}"


def _distinct_names(runs: Sequence[tuple[Results, Provenance]]) -> list[str]:
    """Return the runs' names; where two are the same, with their models, and as the last resort with numbers."""
    names = [results.name for results, _ in runs]
    twice = Counter(names)
    for number, (name, (_, provenance)) in enumerate(zip(list(names), runs, strict=True)):
        if twice[name] > 1 and provenance.model:
            names[number] = f"{name}, {provenance.model.name}"
    twice = Counter(names)
    return [f"{name} ({number})" if twice[name] > 1 else name for number, name in enumerate(names, start=1)]


def _notes(runs: Runs) -> list[tuple[str, str]]:
    """Return the runs' notes, each once, with the names of the runs that it is about; no name if it is all of them."""
    about: dict[str, list[str]] = {}
    for name, results in runs:
        for note in results.notes:
            about.setdefault(note, []).append(name)
    return [("" if len(names) == len(runs) else ", ".join(names), note) for note, names in about.items()]


def _drawn(figure: Figure | None, title: str, note: str = "") -> PageFigure | None:
    return None if figure is None else PageFigure(figure_url(figure), title, note)


def _curve(kind: CurveKind, runs: Runs) -> PageFigure | None:
    left_out = labels_left_out(kind, runs)
    note = f"{left_out} more are in the files curves.csv." if left_out else ""
    return _drawn(curve_figure(kind, runs), kind.title, note)


def _shown_errors(results: Results) -> list[tuple[str, list[ShownError]]]:
    """Return the worst errors by kind, the worst first, with their photos."""
    missed = sorted((e for e in results.worst_errors if e.kind == "missed"), key=lambda e: e.similarity)
    false = sorted((e for e in results.worst_errors if e.kind == "false_accept"), key=lambda e: -e.similarity)
    titles = ("Least alike, one person", missed), ("Most alike, two people", false)
    return [(title, [_shown(error) for error in errors[:MOST_ERRORS]]) for title, errors in titles if errors]


def _shown(error: WorstError) -> ShownError:
    probe, other = (picture_url(Path(path), PICTURE_SIDE) if path else None for path in (error.probe, error.other))
    return ShownError(error, probe, other)
