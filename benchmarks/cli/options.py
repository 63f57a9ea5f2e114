"""Options that several benchmarks share, each written once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.options import ONE_FACE, engine_options, faces_option, workers_options
from faceid.cli.output import progress

if TYPE_CHECKING:
    from benchmarks.inputs.inputs import Embedding
    from faceid.engine import FaceEngine
    from faceid.workers.crew import Crew

AnyFunction = Callable[..., Any]

# A file or a folder that is there.
EXISTING = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

output_folder_option = click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for results.json, the CSVs, the page and the features of photos.",
)


def photo_options(function: AnyFunction) -> AnyFunction:
    """Add what decides how photos become features; feature files need none of it."""
    aligned = click.option(
        "--aligned",
        is_flag=True,
        help="The photos are aligned crops (square, 112x112 with or without a border): no face is looked for.",
    )
    return engine_options(faces_option(ONE_FACE, default="largest")(aligned(workers_options(function))))


def embedding_of(
    aligned: bool, faces: Any, workers: int | None, ray_address: str | None, **engine_settings: Any
) -> "Embedding":
    """Return the `Embedding` of these options; its engine is made once, and only when photos come."""
    from benchmarks.inputs.inputs import Embedding

    @cache
    def engine() -> "FaceEngine":
        from faceid.cli.session import make_engine

        return make_engine(**engine_settings)

    def crew() -> "AbstractContextManager[Crew | None]":
        from faceid.cli.session import crew_of

        return crew_of(engine(), workers, ray_address)

    return Embedding(engine, faces, aligned, lambda photos: progress(photos, "photos"), crew)


def hands_of(workers: int | None, ray_address: str | None) -> "Callable[[], AbstractContextManager[Crew | None]]":
    """Return what starts the workers that were asked for, without an engine; they add up what is in feature files."""

    def start() -> "AbstractContextManager[Crew | None]":
        from faceid.cli.session import crew_making

        return crew_making(object, workers, ray_address)

    return start


def counts(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Read a list of counts such as 10,100,1e6 (a click callback)."""
    try:
        numbers = [float(number) for number in text.split(",")] if text else []
    except ValueError as error:
        raise click.BadParameter(f"numbers with commas between them, such as 10,100,1e6, not {text!r}") from error
    if any(not 1 <= number <= 1e12 or number != int(number) for number in numbers):
        raise click.BadParameter(f"whole numbers of at least 1, not {text!r}")
    return tuple(int(number) for number in numbers) or None
