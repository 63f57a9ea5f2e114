"""`faceid benchmark groups`.  In Python: `benchmarks.protocols.groups.group_errors`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show
from faceid.cli.options import RATE


@click.command(epilog="Example: faceid benchmark groups faces.npz --groups groups.csv -o fairness")
@click.argument("photos", type=EXISTING)
@click.option(
    "--groups", "groups_file", type=FILE, required=True, help="CSV: path or person, and a column an attribute."
)
@click.option("--columns", help="Attributes to measure, with commas between; without it all.")
@click.option("--far", type=RATE, default=1e-4, show_default=True, help="Over everybody: sets the threshold of pairs.")
@click.option("--fpir", type=RATE, default=0.01, show_default=True, help="Over everybody: that of searches.")
@output_folder_option
@photo_options
def groups(
    photos: Path,
    groups_file: Path,
    columns: str | None,
    far: float,
    fpir: float,
    folder: Path,
    **photo_settings: Any,
) -> None:
    """Measure FMR, FNMR, FPIR and FNIR of each group at one threshold for all. PHOTOS: a folder, or a feature file."""
    from benchmarks.formats.group_table import read_groups
    from benchmarks.inputs.inputs import photo_features
    from benchmarks.protocols.groups import group_errors
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    features = photo_features(photos, folder / "photos.npz", embedding_of(**photo_settings))
    table = read_groups(groups_file, features, None if columns is None else columns.split(","))
    run = run_benchmark(
        lambda: group_errors(features, table, far, fpir, run_name(features)),
        [("photos", features)],
        folder,
        [("groups", groups_file)],
    )
    show(run, folder, write_page)
