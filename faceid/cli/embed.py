"""`faceid embed`: photos to a feature file.  In Python: `FaceEngine.embed`, `faceid.embedding_parts.embed_in_parts`."""

from pathlib import Path
from typing import Any

import click

from faceid.cli.options import ANY_FACES, FEATURE_FILE, engine_options, faces_option, workers_options
from faceid.cli.output import progress, say
from faceid.cli.photos import photos_arguments, pictures, verbose_option
from indexer.text import counted, printable


@click.command(epilog="Example: faceid embed people --labels -o people.npz")
@photos_arguments
@click.option(
    "-o",
    "--output",
    "feature_file",
    required=True,
    type=FEATURE_FILE,
    help="The .npz file to write.",
)
@click.option("--labels/--no-labels", default=False, help="The folder below each of PHOTOS is the person's name.")
@engine_options
@faces_option(ANY_FACES, default="largest")
@workers_options
@verbose_option
@click.pass_context
def embed(
    ctx: click.Context,
    /,
    photos: tuple[Path, ...],
    list_file: Path | None,
    feature_file: Path,
    labels: bool,
    faces: Any,
    workers: int | None,
    ray_address: str | None,
    **engine_settings: Any,
) -> None:
    """Embed PHOTOS (files or folders) into an .npz file: `features` [N, D] float32, `labels` [N], `paths` [N].

    A run that was stopped goes on where it was, a thousand photos at a time.
    """
    from faceid.cli.session import crew_of, make_engine
    from faceid.embedding_parts import embed_in_parts
    from faceid.engine import explain
    from faceid.feature_file import write_features
    from faceid.feature_set import FeatureError
    from faceid.vision.photo_list import photos_of_people

    engine = make_engine(**engine_settings)
    if labels and list_file is not None:
        raise click.UsageError("--labels takes the names from folders, not from a list")
    people = (photo for folder in photos for photo in photos_of_people(folder))
    listed = people if labels else pictures(photos, list_file)
    with crew_of(engine, workers, ray_address) as crew:
        parts = embed_in_parts(engine, progress(listed, "photos"), feature_file, faces=faces, crew=crew)
    features = parts.features
    if features.paths:
        write_features(feature_file, features.vectors, features.labels, features.paths, engine.binding)
    parts.drop()
    if parts.reused:
        say(f"{counted(parts.reused, 'photo was', 'photos were')} embedded by an earlier run that was stopped.")
    for failure in features.failures:
        say(explain(failure))
    if not features.paths:  # a file of no rows nobody reads, and there may be a good one
        raise FeatureError(f"{printable(feature_file)} was not written: no photo gave a face")
    faces_written = counted(len(features.paths), "face", "faces")
    say(f"{faces_written} in {feature_file}; {counted(len(features.failures), 'photo', 'photos')} gave none.")
    ctx.exit(3 if any(failure.error for failure in features.failures) else 0)
