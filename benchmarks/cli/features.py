"""`faceid benchmark features`.  In Python: `benchmarks.inputs.embed_photos.embed_photos`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.cli.options import FOLDER, embedding_of, photo_options
from faceid.cli.options import FEATURE_FILE
from faceid.cli.output import say
from indexer.text import counted


@click.command(epilog="Example: faceid benchmark features photos -o features.npz")
@click.argument("folder", type=FOLDER)
@click.option(
    "-o",
    "--output",
    "feature_file",
    required=True,
    type=FEATURE_FILE,
    help="The .npz file to write; beside it lies the record of what is done.",
)
@click.option("--labels/--no-labels", default=False, help="The folder below FOLDER is the person's name.")
@photo_options
@click.pass_context
def features(ctx: click.Context, /, folder: Path, feature_file: Path, labels: bool, **photo_settings: Any) -> None:
    """Embed the photos in FOLDER, one face each, however many: a run that was stopped goes on where it was.

    `faceid embed` is for a few photos, and for all faces of each.
    """
    from benchmarks.inputs.inputs import embed_into
    from faceid.vision.photo_list import PersonPhoto, photos_in, photos_of_people

    embedding = embedding_of(**photo_settings)
    photos = photos_of_people(folder) if labels else (PersonPhoto(photo, "") for photo in photos_in(folder))
    done = embed_into(feature_file, photos, embedding)
    reused = counted(done.reused, "photo was", "photos were")
    say(f"{counted(done.rows, 'face', 'faces')} in {feature_file}; {reused} done before.")
    if done.failed:
        say(f"{counted(done.failed, 'photo', 'photos')} gave none: {feature_file}.failed.csv says why.")
    ctx.exit(3 if done.failed else 0)
