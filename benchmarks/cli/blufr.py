"""`faceid benchmark blufr`.  In Python: `benchmarks.protocols.blufr.blufr`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show


@click.command(epilog="Example: faceid benchmark blufr lfw -o out")
@click.argument("photos", type=EXISTING)
@click.option(
    "--splits",
    "splits_file",
    type=FILE,
    help="The published splits, blufr_lfw_config.mat; without it, splits are drawn by the same rule and labelled so.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the splits that are drawn.")
@output_folder_option
@photo_options
def blufr(photos: Path, splits_file: Path | None, seed: int, folder: Path, **photo_settings: Any) -> None:
    """Measure all pairs and open-set identification of LFW in 10 trials. PHOTOS: DIR/NAME/PHOTO, or a feature file."""
    from benchmarks.formats.blufr_config import read_config
    from benchmarks.inputs.inputs import labelled_features
    from benchmarks.protocols.blufr import blufr as measure
    from benchmarks.protocols.blufr import published_trials, seeded_trials
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    config = None if splits_file is None else read_config(splits_file)
    features = labelled_features(photos, folder / "photos.npz", embedding_of(**photo_settings))
    trials = seeded_trials(features, seed) if config is None else published_trials(config, features)
    run = run_benchmark(
        lambda: measure(features, trials, run_name(features)),
        [("photos", features)],
        folder,
        [] if splits_file is None else [("splits", splits_file)],
    )
    show(run, folder, write_page)
