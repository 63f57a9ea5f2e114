"""`faceid identify`: who is on these photos?  In Python: `FaceEngine.identify`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.config import file_of, one_of
from faceid.cli.options import ANY_FACES, RATE, SIMILARITY, engine_options, faces_option, gallery_option, output_option
from faceid.cli.output import progress, say, write_records
from faceid.cli.photos import photos_arguments, pictures, verbose_option
from faceid.records import AnswerRecord
from indexer.store.place import Place

if TYPE_CHECKING:
    from faceid.results import Answer
    from faceid.vision.detection import FacePolicy
    from indexer.decision.decision import Threshold


class IndexKind(click.ParamType[str]):
    """A kind of index by name, or where one elsewhere is; what there is, packages say, asked only where it matters."""

    name = "kind"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """List the names."""
        from indexer.search.index_kinds import kind_names

        return f"[{'|'.join(kind_names())}|milvus:URI|pgvector]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take the name of a kind that there is."""
        from indexer.outside.addresses import is_outside
        from indexer.search.index_kinds import kind_names

        if value != "auto" and value not in kind_names() and not is_outside(value):
            self.fail(f"{value!r} is not one of {', '.join(kind_names())}, milvus:URI or pgvector.", param, ctx)
        return value


@click.command(epilog="Example: faceid identify visitors --gallery staff --fpir 0.001 --json")
@photos_arguments
@gallery_option
@engine_options
@faces_option(ANY_FACES, default="all")
@click.option(
    "--fpir",
    type=RATE,
    help="Share of strangers that may be taken for somebody (default 0.01).",
)
@click.option("--threshold", type=SIMILARITY, help="Accept at this similarity instead.")
@click.option("--top-k", type=click.IntRange(1, 1000), default=5, show_default=True, help="Candidates to list.")
@click.option(
    "--index",
    "index_kind",
    type=IndexKind(),
    default="auto",
    help="Kind of index; auto goes by the gallery's size. One elsewhere is made by `faceid gallery set index`.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="Only sample a large gallery: sooner, but somebody may be missed (the records say so).",
)
@click.option(
    "--quality/--no-quality",
    default=False,
    show_default=True,
    help="Refuse to judge faces too poor to recognise.",
)
@click.option(
    "--annotate",
    "annotate_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the photos with boxes and names here.",
)
@click.option(
    "--together",
    is_flag=True,
    help="All photos show one unknown person: one decision on them, with a threshold of its own (--faces largest).",
)
@click.option("--fail-on-unknown", is_flag=True, help="Exit with 1 if a face is nobody in the gallery.")
@verbose_option
@output_option
@click.pass_context
def identify(
    ctx: click.Context,
    /,
    photos: tuple[Path, ...],
    list_file: Path | None,
    gallery_path: Place,
    faces: Any,
    fpir: float | None,
    threshold: float | None,
    top_k: int,
    index_kind: str,
    fast: bool,
    quality: bool,
    annotate_dir: Path | None,
    together: bool,
    fail_on_unknown: bool,
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Say who is on each of PHOTOS, or that it is nobody in the gallery.

    PHOTOS are files, folders searched to the bottom, or `-`: one photo on standard input.
    """
    fpir, threshold = one_of(ctx, fpir=fpir, threshold=threshold)

    if together and (annotate_dir or fast):
        raise click.UsageError("--together takes one face of each photo: it goes without --annotate and --fast")
    listed = pictures(photos, list_file, annotate_dir)

    from faceid.cli.session import open_with_engine
    from faceid.threshold_words import describe
    from faceid.thresholds import identification_threshold
    from faceid.vision.quality import Limits
    from indexer.decision.decision import user_threshold

    with open_with_engine(gallery_path, **engine_settings) as (engine, gallery):
        gallery.use_index(index_kind)
        limits = Limits() if quality else None

        def accept_at(photos_of_one: int) -> "Threshold":
            if threshold is not None:
                return user_threshold(threshold, file_of(ctx, "threshold"))
            chosen = identification_threshold(
                engine.model, gallery, fpir or 0.01, photos=photos_of_one, detector=engine.detector_digest
            )
            say(describe(chosen))
            return chosen

        answers: Iterable[Answer]
        if together:
            one: FacePolicy = "largest" if faces == "all" else faces
            of_one = list(listed)
            if not of_one:
                raise click.UsageError("--together takes a photo at least")
            answers = [engine.identify_together(gallery, of_one, accept_at, faces=one, limits=limits, top_k=top_k)]
        else:
            answers = engine.identify_stream(
                gallery, listed, accept_at(1), faces=faces, limits=limits, top_k=top_k, fast=fast
            )
        if annotate_dir:
            from faceid.annotate import annotated

            answers = annotated(answers, annotate_dir)
        seen: set[str] = set()
        shown = progress(_noted(answers, seen), "faces")
        write_records(shown, output, lambda one: one.record(), _row, columns=AnswerRecord.__annotations__)
    ctx.exit(3 if "error" in seen else 1 if fail_on_unknown and "unknown" in seen else 0)


def _noted(answers: Iterable["Answer"], seen: set[str]) -> Iterator["Answer"]:
    for answer in answers:
        seen.add(answer.decision)
        if answer.message:
            say(answer.message)
        yield answer


def _row(answer: "Answer") -> dict[str, object]:
    best = answer.candidates[0] if answer.candidates else None
    below = best is not None and answer.decision == "unknown"
    return {
        "photo": answer.source,
        "face": answer.face_index,
        "decision": answer.decision,
        "who": answer.identity.label if answer.identity else "",
        "similarity": answer.similarity,
        **({"in context": answer.adjusted} if answer.threshold.on == "context" else {}),
        "threshold": answer.threshold.value,
        "remark": f"nearest {best.label}, below the threshold" if below and best else ", ".join(answer.reason_codes),
    }
