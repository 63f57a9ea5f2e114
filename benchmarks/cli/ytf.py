"""`faceid benchmark ytf`.  In Python: `benchmarks.protocols.ytf.ytf`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show
from faceid.cli.output import progress


@click.command(epilog="Example: faceid benchmark ytf frames --splits splits.txt -o out")
@click.argument("frames", type=EXISTING)
@click.option("--splits", "splits_file", required=True, type=FILE, help="The list of pairs, splits.txt.")
@click.option(
    "--tracks",
    is_flag=True,
    help="A video's template is that of its person's track, as `faceid watch` makes it: for whole frames, with"
    " NAME.labeled_faces.txt as published, if there.",
)
@output_folder_option
@photo_options
def ytf(frames: Path, splits_file: Path, tracks: bool, folder: Path, **photo_settings: Any) -> None:
    """Measure accuracy on pairs of videos in 10 folds. FRAMES: DIR/NAME/VIDEO/FRAME, or a feature file of them."""
    if tracks and not frames.is_dir():
        raise click.UsageError("--tracks takes a folder of frames")
    if tracks and (photo_settings["workers"] or photo_settings["ray_address"]):
        raise click.UsageError("--workers and --ray share out photos, not the videos of --tracks")
    from benchmarks.formats.ytf_splits import read_splits
    from benchmarks.inputs.inputs import photo_features
    from benchmarks.protocols.ytf import ytf as measure
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    pairs = read_splits(splits_file)
    embedding = embedding_of(**photo_settings)
    if tracks:
        from benchmarks.inputs.video_templates import video_features

        features = video_features(frames, embedding.engine(), lambda videos: progress(videos, "videos"))
    else:
        features = photo_features(frames, folder / "frames.npz", embedding)
    run = run_benchmark(
        lambda: measure(features, pairs, run_name(features)),
        [("frames", features)],
        folder,
        [("pairs", splits_file)],
    )
    show(run, folder, write_page)
