"""`faceid verify`: do two photos show the same person?  In Python: `FaceEngine.verify`."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.config import file_of, one_of
from faceid.cli.options import ONE_FACE, RATE, SIMILARITY, engine_options, faces_option, gallery_option, output_option
from faceid.cli.output import say, write_records
from faceid.cli.photos import STDIN, picture_of
from indexer.store.place import Place

if TYPE_CHECKING:
    from faceid.results import Verification


@click.command(epilog="Example: faceid verify passport.jpg visitor.jpg --far 0.001")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@gallery_option
@engine_options
@faces_option(ONE_FACE, default="largest")
@click.option(
    "--far",
    type=RATE,
    help="Share of pairs of different people that may pass (default 1e-3).",
)
@click.option("--threshold", type=SIMILARITY, help="Accept at this similarity instead.")
@click.option("--document", is_flag=True, help="FIRST is a document's photo, which may be morphed of two people.")
@click.option(
    "--wcmmpmr",
    type=RATE,
    help="With --document: share of worst-case morphs that may pass (default 0.05, or what comes nearest of the shares"
    " that were measured).",
)
@output_option
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    first: Path,
    second: Path,
    gallery_path: Place,
    faces: Any,
    far: float | None,
    threshold: float | None,
    document: bool,
    wcmmpmr: float | None,
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Say whether FIRST and SECOND show the same person (`-`: a photo on standard input).

    The threshold is that of the gallery's calibration, if it is of the same model, or else the model's.
    """
    far, threshold = one_of(ctx, far=far, threshold=threshold)
    if wcmmpmr is not None and not document:
        raise click.UsageError("--wcmmpmr goes with --document")
    if first == second == STDIN:
        raise click.UsageError("only one of the two photos can come from standard input")

    from faceid.cli.session import gallery_of, make_engine
    from faceid.documents import document_threshold
    from faceid.thresholds import verification_threshold
    from indexer.decision.decision import user_threshold

    engine = make_engine(**engine_settings)
    needs_gallery = document or threshold is None
    with gallery_of(engine, gallery_path) if needs_gallery else nullcontext() as gallery:
        if threshold is None:
            accept_at = verification_threshold(engine.model, gallery, far or 1e-3)
        else:
            accept_at = user_threshold(threshold, file_of(ctx, "threshold"))
        morph = document_threshold(engine.model, gallery, wcmmpmr) if document else None
    result = engine.verify(picture_of(first), picture_of(second), accept_at, faces=faces, morph=morph)
    if result.message:
        say(result.message)
    write_records([result], output, lambda result: result.record(), _row)
    ctx.exit(3 if result.same is None else 0)


def _row(result: "Verification") -> dict[str, object]:
    same = {True: "yes", False: "no", None: "cannot say"}[result.same]
    return {
        "same person": "perhaps: a possible morph" if result.decision == "possible_morph" else same,
        "similarity": result.similarity,
        "threshold": result.threshold.value,
        "remark": ", ".join(result.reason_codes),
    }
