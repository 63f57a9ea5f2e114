"""`faceid calibrate`: thresholds for this gallery and model.  In Python: `faceid.thresholds.calibrate_gallery`."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.options import ANY_FACES, RATE, engine_options, faces_option, gallery_option, output_option
from faceid.cli.output import progress, say, write_records
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from faceid.engine import FaceEngine
    from indexer.gallery import Gallery

FPIRS = (0.1, 0.01, 0.003)
FARS = (1e-2, 1e-3, 1e-4)
WIDEST_REMARK = 40  # characters


@click.command(epilog="Example: faceid calibrate --strangers strangers --gallery staff")
@gallery_option
@engine_options
@faces_option(ANY_FACES, default="largest")
@click.option(
    "--strangers",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Photos, or videos, of people who are not in the gallery; without them the enrolled serve for each other.",
)
@click.option(
    "--keep-strangers",
    is_flag=True,
    help="Keep the strangers' vectors in the gallery, so that it is measured anew whenever it changes.",
)
@click.option(
    "--forget-strangers", is_flag=True, help="Destroy the strangers' vectors that are kept, and measure nothing."
)
@click.option(
    "--fpir",
    "fpirs",
    type=RATE,
    multiple=True,
    help="Rates to show (default 0.1, 0.01, 0.003); others follow from the same measurement.",
)
@click.option(
    "--report",
    "report_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw here what thresholds and probabilities are worth on people who did not set them (extra `report`).",
)
@click.option(
    "--documents",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder for each person, with a document's photo (`document...`, or the first) and live ones: measure what"
    " morphs score, for `verify --document`, and nothing else.",
)
@output_option
@click.pass_context
def calibrate(
    ctx: click.Context,
    /,
    gallery_path: Place,
    strangers: tuple[Path, ...],
    keep_strangers: bool,
    forget_strangers: bool,
    fpirs: tuple[float, ...],
    report_dir: Path | None,
    documents: Path | None,
    faces: Any,
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Measure at which similarity how many strangers are taken for somebody in this gallery, and keep it there.

    Videos of strangers measure the threshold of tracks, which is that of `faceid watch`.
    """
    if keep_strangers and not strangers:
        raise click.UsageError("--keep-strangers keeps those of --strangers DIR")
    if documents is not None:
        if strangers or keep_strangers or forget_strangers:
            raise click.UsageError("--documents measures morphs alone: leave the strangers to a call of their own")
        ctx.exit(_documents(gallery_path, documents, faces, output, engine_settings))
    if forget_strangers:
        if strangers:
            raise click.UsageError("give --strangers or --forget-strangers, not both")
        _forget(gallery_path)
        return

    from faceid.cli.session import open_with_engine
    from faceid.video.track_thresholds import videos_in

    if videos := videos_in(strangers):
        if keep_strangers or report_dir:
            raise click.UsageError("--keep-strangers and --report go with photos of strangers, not with videos")
        with open_with_engine(gallery_path, writable=True, **engine_settings) as (engine, gallery):
            of_tracks, failed = _of_tracks(engine, gallery, videos, fpirs or FPIRS)
        write_records(of_tracks, output, dict, table_row, widest=WIDEST_REMARK)
        ctx.exit(3 if failed else 0)

    from faceid.engine import explain
    from faceid.thresholds import calibrate_gallery, gallery_rows
    from faceid.vision.photo_list import photos_in

    with open_with_engine(gallery_path, writable=True, **engine_settings) as (engine, gallery):
        photos = progress(photos_in(strangers), "strangers") if strangers else None
        checked = (fpirs or FPIRS) if report_dir else ()
        outcome = calibrate_gallery(
            engine, gallery, photos, faces=faces, checked_fpirs=checked, keep_strangers=keep_strangers
        )
        for failure in outcome.failures:
            say(explain(failure))
        for pair in outcome.suspected_duplicates:
            say(
                f"Left out, perhaps one person: ids {pair.first_id} and {pair.second_id}, similarity "
                f"{pair.similarity:.3f}; look with `faceid gallery show`, join with `faceid gallery merge`"
            )
        if report_dir and outcome.check:
            from faceid.calibration_report import write_calibration_report

            picture, numbers = write_calibration_report(outcome.check, report_dir)
            say(f"Checked on held-out people: {picture}, {numbers}")
        rows = gallery_rows(engine.model, gallery, fpirs or FPIRS, FARS, detector=engine.detector_digest)
        kept = len(gallery.kept_strangers().vectors) if strangers and not keep_strangers else 0
    if strangers:
        _say_whether_enough(outcome.searches, max(fpirs or FPIRS))
    if kept:
        say(
            f"What the gallery keeps of strangers ({counted(kept, 'face', 'faces')}) comes before these;"
            " --keep-strangers puts these in its place, --forget-strangers destroys it."
        )
    write_records(rows, output, dict, table_row, widest=WIDEST_REMARK)
    ctx.exit(3 if any(failure.error for failure in outcome.failures) else 0)


def _say_whether_enough(strangers: int, fpir: float) -> None:
    """Say so where there are too few strangers for even the easiest rate."""
    from indexer.decision.decision import RULE_OF_THREE

    needed = math.ceil(RULE_OF_THREE / fpir)
    if strangers < needed:
        say(
            f"{counted(strangers, 'face', 'faces')} of strangers: too few for any of these rates; {needed:,} would"
            f" measure FPIR {100 * fpir:g} %."
        )


def _of_tracks(
    engine: "FaceEngine", gallery: "Gallery", videos: Sequence[Path], fpirs: Sequence[float]
) -> tuple[list[dict[str, Any]], int]:
    """Measure with videos; return the table of tracks' thresholds, and how many videos failed."""
    from faceid.thresholds import threshold_row
    from faceid.video.track_thresholds import calibrate_tracks, track_threshold

    done = calibrate_tracks(engine, gallery, progress(videos, "videos"))
    for failure in done.failures:
        say(str(failure))
    say(f"{done.tracks:,} tracks of strangers in {done.videos - len(done.failures):,} videos.")
    rows = [threshold_row("fpir", fpir, partial(track_threshold, engine, gallery, fpir)) for fpir in fpirs]
    return rows, len(done.failures)


def _documents(
    gallery_path: Place, folder: Path, faces: Any, output: str | None, engine_settings: dict[str, Any]
) -> int:
    """Measure what morphs of documents score; return the exit code."""
    from faceid.cli.session import open_with_engine
    from faceid.documents import calibrate_documents, document_threshold
    from faceid.engine import explain
    from faceid.results import morph_record
    from faceid.vision.photo_list import photos_of_people

    with open_with_engine(gallery_path, writable=True, **engine_settings) as (engine, gallery):
        people = progress(photos_of_people(folder), "documents")
        scores, failures = calibrate_documents(engine, gallery, people, faces=faces)
        for failure in failures:
            say(explain(failure))
        say(f"Morphs of {scores.data} measured and kept.")
        morph = document_threshold(engine.model, gallery, None)
    say(
        f"At {morph.value:.4f} {100 * (morph.estimated or 0):.1f} % of worst-case morphs pass, and"
        f" {100 * (morph.bscer or 0):.1f} % of genuine documents are suspected."
    )
    if output:
        write_records([morph], output, morph_record, morph_record)
    return 3 if any(failure.error for failure in failures) else 0


def _forget(gallery_path: Place) -> None:
    from faceid.cli.gallery_care import say_what_is_pending
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as gallery:
        say(f"{gallery.forget_strangers()} strangers' faces destroyed.")
        say_what_is_pending(gallery)


def table_row(record: Mapping[str, Any]) -> dict[str, object]:
    """Return a row of a threshold table for people."""
    low, high = record["ci95"] or (None, None)
    return {
        "rate": f"{record['target'].upper()} {record['value']:g}",
        "people": record["gallery_size"],
        "threshold": record["threshold"],
        "basis": f"{record['basis']} ({record['kind']})" if record["kind"] else record["basis"],
        "trials": record["trials"],
        "95 % interval of the rate": None if low is None else f"{low:g} to {high:g}",
        "remark": record["reason"] or record["data"],
    }
