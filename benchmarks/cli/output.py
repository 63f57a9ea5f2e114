"""A run's figures as tables on stdout; where the page and the rest lie, on stderr."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tabulate import tabulate

from faceid.cli.output import say
from indexer.errors import FaceIdError
from indexer.text import plain

if TYPE_CHECKING:
    from benchmarks.results.provenance import Run
    from benchmarks.results.results import Provenance, Results

    PageWriter = Callable[[Sequence[tuple[Results, Provenance]], Path], Path]

# Characters; conventions are sentences, which wrap.
WIDEST_CELL = 60


class PageError(FaceIdError):
    """The page of plots cannot be drawn on this machine."""


def page_writer() -> "PageWriter":
    """Return `benchmarks.report.page.write_report`. Raises PageError where the libraries of the page are missing."""
    try:
        from benchmarks.report.page import write_report
    except ModuleNotFoundError as error:
        raise PageError(f"the page of plots needs {error.name}; pip install 'faceid-engine[report]'") from error
    return write_report


def page_writer_if_any() -> "PageWriter | None":
    """Return the same, or say that there will be no page: before hours are spent on a run, not after."""
    try:
        return page_writer()
    except PageError as error:
        say(f"figures and results.json only: {error}")
        return None


def show(run: "Run", folder: Path, write_page: "PageWriter | None") -> None:
    """Print the run's tables, draw its page where that can be, and say where it is."""
    print_tables(run.results)
    for note in run.results.notes:
        say(f"note: {note}")
    if write_page is None:
        say(f"figures: {(folder / 'results.json').absolute()}")
    else:
        say(f"page: {write_page([(run.results, run.provenance)], folder).absolute()}")


def print_tables(results: "Results") -> None:
    """Print what was measured, then, apart, what was only foretold and what was refused."""
    from benchmarks.report.tables import (
        accuracy_table,
        clustering_table,
        differentials_table,
        groups_table,
        identification_table,
        open_set_table,
        prediction_table,
        refusal_table,
        verification_table,
    )

    for title, make in (
        ("Accuracy", accuracy_table),
        ("Identification", identification_table),
        ("Verification", verification_table),
        ("Open set", open_set_table),
        ("Clusters", clustering_table),
        ("Errors by group", groups_table),
        ("How unequal", differentials_table),
        ("Predicted, not measured", prediction_table),
        ("Refused: too few trials", refusal_table),
    ):
        table = make([(results.name, results)])
        if table is not None:
            rows = [[textwrap.fill(plain(cell), WIDEST_CELL) for cell in row] for row in table.rows]
            click.echo(f"{title}\n{tabulate(rows, table.head, 'simple', disable_numparse=True)}\n")
