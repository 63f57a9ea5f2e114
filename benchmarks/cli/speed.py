"""`faceid benchmark speed`.  In Python: `benchmarks.speed.measure.measure_speed`."""

from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from benchmarks.cli.options import FOLDER
from faceid.cli.options import engine_options
from faceid.cli.output import say


@click.command(epilog="Example: faceid benchmark speed")
@click.option("--photos", "photo_folder", type=FOLDER, help="Measure on these photos instead of drawn ones.")
@click.option(
    "-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder for speed.json."
)
@engine_options
def speed(photo_folder: Path | None, folder: Path | None, **engine_settings: Any) -> None:
    """Time detection, embedding, enrolment, search and the MegaFace pass beside bounds measured here, and peers.

    Figures mean something only on a machine that does nothing else.
    """
    from benchmarks.results.provenance import make_folder
    from benchmarks.speed.measure import measure_speed
    from benchmarks.speed.rows import HEAD, speed_table, write_speed
    from faceid.cli.session import make_engine
    from faceid.vision.photo_list import photos_in

    if folder is not None:
        make_folder(folder)
    photos = (
        [photo.path for photo in photos_in(photo_folder) if photo.path and photo.reason_code is None]
        if photo_folder
        else None
    )
    measured = measure_speed(make_engine(**engine_settings), photos, say=say)
    click.echo(tabulate(speed_table(measured), HEAD, "simple", disable_numparse=True))
    if folder is not None:
        say(f"written: {write_speed(measured, folder).absolute()}")
