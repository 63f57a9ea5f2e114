"""`faceid report`.  In Python: `benchmarks.report.page.write_report`."""

from pathlib import Path

import click

from benchmarks.cli.options import EXISTING
from benchmarks.cli.output import page_writer
from faceid.cli.output import say
from indexer.text import counted


@click.command(epilog="Example: faceid report out/a out/b -o page")
@click.argument("runs", nargs=-1, required=True, type=EXISTING)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the page, index.html.",
)
def report(runs: tuple[Path, ...], folder: Path) -> None:
    """Lay several runs over each other on one page of plots and tables.

    RUNS are folders that `faceid benchmark` wrote, their results.json, or results of the MegaFace devkit
    (cmc_facescrub_megaface_NAME_N_SET.json).
    """
    from benchmarks.report.runs import read_run
    from benchmarks.results.provenance import make_folder

    write_page = page_writer()
    found = [read_run(path) for path in runs]
    make_folder(folder)
    page = write_page(found, folder)
    click.echo(page.absolute())
    say(f"{counted(len(runs), 'run', 'runs')} on one page")
