"""`faceid benchmark megaface`.  In Python: `benchmarks.protocols.megaface.megaface`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import EXISTING, FILE, counts, embedding_of, hands_of, output_folder_option, photo_options
from benchmarks.cli.output import page_writer_if_any, show

RAW, MODES = "raw", ("raw", "r-compatible", "r-drop")


@click.command(epilog="Example: faceid benchmark megaface --probes probes --distractors crowd.npz -o out")
@click.option(
    "--probes",
    required=True,
    type=EXISTING,
    help="People with two or more photos: DIR (a folder a person), FILE.npz, or a folder of the devkit's .bin files.",
)
@click.option(
    "--distractors",
    type=EXISTING,
    help="Other people: DIR of photos, FILE.npz, FILE.npy, a folder of such files (with --workers or --ray one after"
    " the other is a worker's), or one of .bin files; without it, the people of the probes who have one photo.",
)
@click.option("--probe-list", type=FILE, help="The devkit's JSON list of probes, for a folder of .bin files.")
@click.option("--distractor-list", type=FILE, help="The devkit's JSON list of distractors, likewise.")
@click.option(
    "--ending", help="What follows the photo's name in the .bin files' names, if they are of several networks."
)
@click.option(
    "--sizes", callback=counts, help="Numbers of distractors, such as 10,100,1e6.  [default: 10, 100, ... all]"
)
@click.option("--sets", default=1, show_default=True, type=click.IntRange(1, 100), help="Orders of the distractors.")
@click.option("--noise", default=RAW, show_default=True, type=click.Choice(MODES), help="What becomes of noisy photos.")
@click.option("--probe-noises", type=FILE, help="facescrub_noises.txt: the noisy probes.")
@click.option("--distractor-noises", type=FILE, help="megaface_noises.txt: the noisy distractors.")
@click.option("--extrapolate", callback=counts, help="Foretell these numbers of distractors too, such as 1e5,1e6,1e7.")
@click.option(
    "--fast", is_flag=True, help="Select by bfloat16 products: the same figures sooner, but none above FAR 1e-4."
)
@click.option(
    "--trillion-pairs",
    is_flag=True,
    help="Instead: identification at FPIR 1e-3 and verification at FAR 1e-9 among all distractors.",
)
@output_folder_option
@photo_options
def megaface(
    probes: Path,
    distractors: Path | None,
    probe_list: Path | None,
    distractor_list: Path | None,
    ending: str | None,
    sizes: tuple[int, ...] | None,
    sets: int,
    noise: Any,
    probe_noises: Path | None,
    distractor_noises: Path | None,
    extrapolate: tuple[int, ...] | None,
    fast: bool,
    trillion_pairs: bool,
    folder: Path,
    **photo_settings: Any,
) -> None:
    """Search every pair of photos of one person among N distractors, as MegaFace does, and open-set beside it."""
    from benchmarks.protocols.megaface_run import MegaFaceInputs, MegaFaceSettings, run_megaface

    if (noise == RAW) != (probe_noises is None and distractor_noises is None):
        raise click.UsageError("--noise r-compatible and r-drop go with --probe-noises, --distractor-noises, or both")
    if extrapolate and noise != RAW:
        raise click.UsageError("--extrapolate foretells from raw features; leave out --noise")
    if fast and photo_settings["device"] not in (None, "cpu"):
        raise click.UsageError("--fast is a way of the processor; a GPU runs the exact pass")
    if trillion_pairs and (sizes or sets > 1 or noise != RAW or extrapolate or fast):
        raise click.UsageError(
            "--trillion-pairs takes all raw distractors once: no --sizes, --sets, --noise, --extrapolate, --fast"
        )
    write_page = page_writer_if_any()
    inputs = MegaFaceInputs(probes, distractors, probe_list, distractor_list, ending, probe_noises, distractor_noises)
    device = photo_settings["device"] or "cpu"
    settings = MegaFaceSettings(sizes, sets, noise, extrapolate or (), trillion_pairs, fast, device)
    hands = hands_of(photo_settings["workers"], photo_settings["ray_address"])
    show(run_megaface(inputs, settings, folder, embedding_of(**photo_settings), hands), folder, write_page)
