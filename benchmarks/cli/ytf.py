"""`faceid benchmark ytf`.  In Python: `benchmarks.protocols.ytf.ytf`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show


@click.command(epilog="Example: faceid benchmark ytf frames --splits splits.txt -o out")
@click.argument("frames", type=EXISTING)
@click.option("--splits", "splits_file", required=True, type=FILE, help="The list of pairs, splits.txt.")
@output_folder_option
@photo_options
def ytf(frames: Path, splits_file: Path, folder: Path, **photo_settings: Any) -> None:
    """Measure accuracy on pairs of videos in 10 folds. FRAMES: DIR/NAME/VIDEO/FRAME, or a feature file of them."""
    from benchmarks.formats.ytf_splits import read_splits
    from benchmarks.inputs.inputs import photo_features
    from benchmarks.protocols.ytf import ytf as measure
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    pairs = read_splits(splits_file)
    features = photo_features(frames, folder / "frames.npz", embedding_of(**photo_settings))
    run = run_benchmark(
        lambda: measure(features, pairs, run_name(features)),
        [("frames", features)],
        folder,
        [("pairs", splits_file)],
    )
    show(run, folder, write_page)
