"""`faceid demo`.  In Python: `benchmarks.demo.story.tell`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceid.cli.options import model_option
from faceid.cli.output import say

if TYPE_CHECKING:
    from benchmarks.demo.story import Story


@click.command(epilog="Example: faceid demo --output tour")
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Show it on your own people instead: one folder per person.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("faceid-demo"),
    show_default=True,
    help="Folder for the page, the photos and the gallery; a later run replaces it.",
)
@click.option("--serve", is_flag=True, help="Then keep the page open with these people, until Ctrl-C.")
@model_option
def demo(photos: Path | None, output: Path, serve: bool, model_name: str | None) -> None:
    """Show the whole story offline: enrol people, know them again, leave strangers unknown; ends in one HTML page."""
    from benchmarks.demo.cast import cast_of_folder, generated_cast
    from benchmarks.demo.output_folder import fresh_folder
    from benchmarks.demo.page import write_page
    from benchmarks.demo.story import tell
    from benchmarks.report.wording import interval, percent
    from faceid.engine import FaceEngine

    engine = FaceEngine(model_name)
    cast = cast_of_folder(photos) if photos else None
    folder = fresh_folder(output, photos)
    if cast is None:
        say("drawing people who do not exist")
        cast = generated_cast(folder)
    story = tell(engine, cast, folder, say)
    page = write_page(story, folder)
    click.echo(f"shown: {'generated faces' if cast.generated else 'your photos'}, {cast.origin}")
    click.echo(f"enrolled: {story.people} people, {story.templates} photos, with {story.model}")
    for label, rate in (
        ("rank-1", story.rank1),
        (f"missed at FPIR {story.threshold.target_value:g} (FNIR)", story.fnir),
        ("strangers taken for somebody (FPIR)", story.fpir),
        *((f"rank-1 among {size} distractors", rate) for size, rate in story.distractors),
    ):
        click.echo(f"{label}: {percent(rate.rate)} ({rate.hits} of {rate.trials}; 95 %: {interval(rate.ci95)})")
    _serve(story, folder, model_name, stay=serve)
    click.echo(f"page: {page.absolute()}")


def _serve(story: "Story", folder: Path, model: str | None, *, stay: bool) -> None:
    """Ask the story's people once over HTTP, as programs and browsers do."""
    try:
        from benchmarks.demo.served import PORT, ask_service, keep_open
    except ModuleNotFoundError as error:
        say(f"not served: {error.name} is missing; the server comes with `pip install 'faceid-engine[serve,client]'`")
        return
    say("serving them for a moment")
    seen = ask_service(story, folder, model)
    click.echo(f"served at {seen.address}: ready, its page is there, and over HTTP the first photo shows {seen.name}")
    if stay:
        say(f"the page is open at http://127.0.0.1:{PORT}/; Ctrl-C ends it")
        keep_open(story, folder, model)
    else:
        click.echo(f"to keep it open: faceid serve --gallery {story.gallery}, then http://127.0.0.1:{PORT}/")
