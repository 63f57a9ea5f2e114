"""`faceid benchmark lfw`.  In Python: `benchmarks.protocols.lfw.lfw`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show


@click.command(epilog="Example: faceid benchmark lfw lfw --pairs pairs.txt -o out")
@click.argument("photos", type=EXISTING)
@click.option("--pairs", "pairs_file", required=True, type=FILE, help="LFW's pairs.txt.")
@output_folder_option
@photo_options
def lfw(photos: Path, pairs_file: Path, folder: Path, **photo_settings: Any) -> None:
    """Measure accuracy on LFW's 6,000 pairs in 10 folds. PHOTOS: DIR/NAME/NAME_0001.jpg, or a feature file of them."""
    from benchmarks.inputs.inputs import photo_features
    from benchmarks.protocols.lfw import lfw as measure
    from benchmarks.protocols.lfw import read_pairs
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    pairs = read_pairs(pairs_file)
    features = photo_features(photos, folder / "photos.npz", embedding_of(**photo_settings))
    run = run_benchmark(
        lambda: measure(features, pairs, run_name(features)),
        [("photos", features)],
        folder,
        [("pairs", pairs_file)],
    )
    show(run, folder, write_page)
