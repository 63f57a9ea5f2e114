"""A run's figures as tables on stdout; where the page and the rest lie, on stderr."""

import textwrap
from typing import TYPE_CHECKING

import click
from tabulate import tabulate

from faceid.cli.output import say

if TYPE_CHECKING:
    from benchmarks.results.provenance import Report
    from benchmarks.results.results import Results

# Characters; conventions are sentences, which wrap.
WIDEST_CELL = 60


def show(report: "Report") -> None:
    """Print the run's tables, and say where the page is."""
    print_tables(report.results)
    for note in report.results.notes:
        say(f"note: {note}")
    say(f"page: {report.page.absolute()}")


def print_tables(results: "Results") -> None:
    """Print what was measured, then, apart, what was only foretold and what was refused."""
    from benchmarks.report.tables import (
        accuracy_table,
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
        ("Predicted, not measured", prediction_table),
        ("Refused: too few trials", refusal_table),
    ):
        table = make([(results.name, results)])
        if table is not None:
            rows = [[textwrap.fill(cell, WIDEST_CELL) for cell in row] for row in table.rows]
            click.echo(f"{title}\n{tabulate(rows, table.head, 'simple', disable_numparse=True)}\n")
