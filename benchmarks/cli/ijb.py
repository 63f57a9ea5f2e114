"""`faceid benchmark ijb`.  In Python: `benchmarks.protocols.ijb.ijb`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, FOLDER, embedding_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show

LEGACY = "insightface-legacy"


@click.command(epilog="Example: faceid benchmark ijb faces --meta meta -o out")
@click.argument("photos", metavar="FACES", type=EXISTING)
@click.option("--meta", "meta_folder", required=True, type=FOLDER, help="Folder of the lists in insightface's layout.")
@click.option(
    "--detection/--no-detection",
    default=True,
    show_default=True,
    help="Weigh each face by its detector's score (the switch D).",
)
@click.option("--norms", "norms_file", type=FILE, help="FILE.npy: the raw features' lengths, to weigh by (switch N).")
@click.option(
    "--flipped",
    type=click.Choice(["absent", "added", "ignored"]),
    default="absent",
    show_default=True,
    help="Rows hold the mirrored image's features as a second half: what becomes of it (switch F).",
)
@click.option(
    "--rule",
    type=click.Choice(["conservative", "nearest", "interp"]),
    default="conservative",
    show_default=True,
    help="How a 1:1 threshold follows from a FAR; nearest as insightface, interp as opensphere.",
)
@click.option("--compat", type=click.Choice([LEGACY]), help="1:N as older scripts computed it, labelled so.")
@output_folder_option
@photo_options
def ijb(
    photos: Path,
    meta_folder: Path,
    detection: bool,
    norms_file: Path | None,
    flipped: Any,
    rule: Any,
    compat: str | None,
    folder: Path,
    **photo_settings: Any,
) -> None:
    """Measure IJB-B or IJB-C, 1:1 and 1:N. FACES: the folder loose_crop, or a feature file of its images."""
    from benchmarks.formats.ijb_meta import read_meta
    from benchmarks.inputs.inputs import photo_features
    from benchmarks.protocols.ijb import Switches
    from benchmarks.protocols.ijb import ijb as measure
    from benchmarks.results.provenance import run_benchmark, run_name
    from faceid.feature_file import read_norms

    write_page = page_writer_if_any()
    meta = read_meta(meta_folder)
    features = photo_features(photos, folder / "faces.npz", embedding_of(**photo_settings))
    norms = None if norms_file is None else read_norms(norms_file, len(features))
    switches = Switches(norms is not None, detection, flipped)
    run = run_benchmark(
        lambda: measure(features, meta, run_name(features), switches, norms, rule, compat == LEGACY),
        [("faces", features)],
        folder,
        [(path.name, path) for path in sorted(meta_folder.rglob(f"{meta.name}_*")) if path.is_file()],
    )
    show(run, folder, write_page)
