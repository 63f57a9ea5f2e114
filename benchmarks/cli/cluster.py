"""`faceid benchmark cluster`.  In Python: `benchmarks.protocols.cluster.cluster_faces`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show
from faceid.cli.options import RATE, SIMILARITY


@click.command(epilog="Example: faceid benchmark cluster lfw.npz -o clusters")
@click.argument("photos", type=EXISTING)
@click.option("--far", type=RATE, default=1e-5, show_default=True, help="Of pairs of two people that count as near.")
@click.option("--threshold", type=SIMILARITY, help="Similarity from which two faces are near, instead of --far.")
@output_folder_option
@photo_options
def cluster(photos: Path, far: float, threshold: float | None, folder: Path, **photo_settings: Any) -> None:
    """Sort faces into people and compare: pairwise and BCubed. PHOTOS: DIR/NAME/PHOTO, or a feature file."""
    from benchmarks.inputs.inputs import labelled_features
    from benchmarks.protocols.cluster import cluster_faces
    from benchmarks.results.provenance import run_benchmark, run_name

    write_page = page_writer_if_any()
    features = labelled_features(photos, folder / "photos.npz", embedding_of(**photo_settings))
    run = run_benchmark(
        lambda: cluster_faces(features, far, threshold, run_name(features)), [("photos", features)], folder
    )
    show(run, folder, write_page)
