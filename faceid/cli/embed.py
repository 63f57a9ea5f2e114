"""`faceid embed`: photos to a feature file.  In Python: `FaceEngine.embed`."""

from pathlib import Path
from typing import Any

import click

from faceid.cli.options import ANY_FACES, engine_options, faces_option
from faceid.cli.output import progress, say


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    "feature_file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The .npz file to write.",
)
@click.option("--labels/--no-labels", default=False, help="The folder below each of PHOTOS is the person's name.")
@engine_options
@faces_option(ANY_FACES, default="largest")
@click.pass_context
def embed(
    ctx: click.Context,
    /,
    photos: tuple[Path, ...],
    feature_file: Path,
    labels: bool,
    faces: Any,
    **engine_settings: Any,
) -> None:
    """Embed PHOTOS (files or folders) into an .npz file: `features` [N, D] float32, `labels` [N], `paths` [N]."""
    from faceid.cli.session import make_engine
    from faceid.engine import explain
    from faceid.feature_file import write_features
    from faceid.vision.photo_list import photos_in, photos_of_people

    engine = make_engine(**engine_settings)
    listed = (photo for folder in photos for photo in photos_of_people(folder)) if labels else photos_in(photos)
    features = engine.embed(progress(listed, "photos"), faces=faces)
    write_features(feature_file, features.vectors, features.labels, features.paths, engine.binding)
    for failure in features.failures:
        say(explain(failure))
    say(f"{len(features.paths)} faces in {feature_file}; {len(features.failures)} photos gave none.")
    ctx.exit(3 if any(failure.error for failure in features.failures) else 0)
