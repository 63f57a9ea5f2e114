"""`faceid benchmark verification`.  In Python: `benchmarks.protocols.verification.verification`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import FILE, output_folder_option
from benchmarks.cli.output import page_writer_if_any, show
from faceid.cli.options import engine_options


@click.command(epilog="Example: faceid benchmark verification cfp_fp.bin -o out")
@click.argument("bin_file", type=FILE)
@output_folder_option
@engine_options
def verification(bin_file: Path, folder: Path, **engine_settings: Any) -> None:
    """Measure a verification set in insightface's form: BIN_FILE is lfw.bin, agedb_30.bin, cfp_fp.bin or the like."""
    from benchmarks.formats.insightface_bin import read_bin
    from benchmarks.inputs.aligned_crops import embed_encoded
    from benchmarks.protocols.verification import verification as measure
    from benchmarks.results.provenance import run_benchmark
    from benchmarks.results.results import ModelUsed
    from faceid.cli.session import make_engine

    write_page = page_writer_if_any()
    pairs = read_bin(bin_file)
    engine = make_engine(**engine_settings)
    embedder = engine.pipeline.embedder
    run = run_benchmark(
        lambda: measure(pairs, lambda images: embed_encoded(embedder, images, bin_file), engine.binding.name),
        [],
        folder,
        [("pairs", bin_file)],
        ModelUsed(engine.binding.name, engine.binding.digest),
    )
    show(run, folder, write_page)
