"""`faceid enroll`: photos of known people into a gallery.  In Python: `FaceEngine.enroll_stream`."""

import resource
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import click

from faceid.cli.options import (
    NAME,
    ONE_FACE,
    engine_options,
    faces_option,
    gallery_option,
    output_option,
    workers_options,
)
from faceid.cli.output import progress, say, write_records
from faceid.cli.photos import pictures, verbose_option
from faceid.records import EnrollmentRecord
from indexer.fusion import FUSIONS
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from faceid.results import Enrollment
    from faceid.video.enrolling import PersonClip
    from faceid.vision.photo_list import PersonPhoto
    from indexer.gallery import Gallery

Item = TypeVar("Item")


@click.command(epilog="Example: faceid enroll people --gallery staff")
@click.argument(
    "paths",
    nargs=-1,
    metavar="PEOPLE_DIR | PHOTO...",
    type=click.Path(exists=True, path_type=Path, allow_dash=True),
)
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with columns path,name[,external_id] instead of a folder.",
)
@click.option("--name", type=NAME, help="All of PHOTO... (files, or folders of them) show the person of this name.")
@gallery_option
@engine_options
@faces_option(ONE_FACE, default="exactly-one")
@click.option("--quality/--no-quality", default=True, show_default=True, help="Reject faces too poor to recognise.")
@click.option("--fusion", type=click.Choice(FUSIONS), help="Score of a person: best template, or their mean.")
@click.option("--restore", is_flag=True, help="Bring back removed people whose photos appear again.")
@click.option("--again", is_flag=True, help="Also look again at photos that an earlier run rejected.")
@click.option("--keep-crops", is_flag=True, help="Keep a small picture of each face in the gallery, for people to see.")
@click.option(
    "--video",
    is_flag=True,
    help="Clips, one person each, instead of photos: PEOPLE_DIR/NAME.mp4 or PEOPLE_DIR/NAME/any.mp4; a manifest's"
    " columns start and end say which part.",
)
@click.option(
    "--document-check", is_flag=True, help="Remark on photos that pass for two people of the gallery, as morphs do."
)
@click.option("--sync", is_flag=True, help="Also report templates whose photo is gone from PEOPLE_DIR.")
@click.option("--prune", is_flag=True, help="With --sync: remove those templates.")
@workers_options
@verbose_option
@output_option
@click.pass_context
def enroll(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    manifest: Path | None,
    name: str | None,
    gallery_path: Place,
    faces: Any,
    quality: bool,
    fusion: Any,
    restore: bool,
    again: bool,
    keep_crops: bool,
    document_check: bool,
    video: bool,
    sync: bool,
    prune: bool,
    workers: int | None,
    ray_address: str | None,
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Enrol the people of PEOPLE_DIR: one folder per person, the folder's name is the person's name.

    Running it again enrols only what is new. `--fusion` and `--model` are settled when the gallery is made.
    """
    if document_check and video:
        raise click.UsageError("--document-check looks at photos")
    if (workers or ray_address) and video:
        raise click.UsageError("--workers and --ray share out photos, not clips")
    people_dir = _people_dir(paths, manifest, name)
    if (sync or prune) and people_dir is None:
        raise click.UsageError("--sync compares the gallery with a folder: give PEOPLE_DIR")
    if prune and not sync:
        raise click.UsageError("--prune goes with --sync")
    if video and sync:
        raise click.UsageError("--sync compares the gallery with photos, not with clips")

    from faceid.cli.session import crew_of, open_to_enroll
    from faceid.sync import gone_photos
    from faceid.threshold_words import threshold_line
    from faceid.thresholds import verification_threshold
    from faceid.vision.quality import Limits

    photos = None if video else _photos(paths, manifest, name)
    clips = _clips(paths, manifest, name) if video else []
    with (
        open_to_enroll(gallery_path, fusion=fusion, **engine_settings) as (engine, gallery),
        crew_of(engine, workers, ray_address) as crew,
    ):
        limits = Limits() if quality else None
        wishes: dict[str, Any] = {"limits": limits, "restore": restore, "again": again, "keep_crops": keep_crops}
        if document_check:
            wishes["document_check"] = verification_threshold(engine.model, gallery, 1e-3)
        enough = Event()
        if photos is None:
            from faceid.video.enrolling import enroll_clips

            results = enroll_clips(engine, gallery, _until(enough, clips), **wishes)
        else:
            results = engine.enroll_stream(gallery, _until(enough, photos), faces=faces, crew=crew, **wishes)
        counts: Counter[str] = Counter()
        counted_results = _counted(results, counts)
        followed = counted_results
        if people_dir and sync:
            followed = gone_photos(gallery, people_dir, counted_results, prune=prune)
        try:
            shown = progress(followed, "photos")
            write_records(shown, output, lambda one: one.record(), _row, columns=EnrollmentRecord.__annotations__)
        except KeyboardInterrupt:
            say("Stopped. What is listed is stored; the same command goes on where this one stopped.")
            raise
        except OSError:
            # Photos are stored some at a time: those under way are stored, or will be, though nobody can be told each.
            enough.set()
            deque(counted_results, maxlen=0)
            say("Stopped. All that is counted here is stored; the same command goes on where this one stopped.")
            raise
        finally:
            say(_summary(gallery, counts, engine.pipeline.seconds, "" if crew is None else " of this process"))
        if gallery.size:
            say(threshold_line(engine.model, gallery, engine.detector_digest))
    ctx.exit(3 if counts["failed"] else 0)


def _people_dir(paths: tuple[Path, ...], manifest: Path | None, name: str | None) -> Path | None:
    """Return the folder of people, where that is what was given; raises click.UsageError for what does not fit."""
    if name is not None:
        if not paths or manifest is not None:
            raise click.UsageError("--name NAME goes with the photos of that person: PHOTO...")
        return None
    if bool(paths) == (manifest is not None):
        raise click.UsageError("give either PEOPLE_DIR, or --manifest FILE, or --name NAME with photos")
    if manifest is not None:
        return None
    from faceid.vision.images import is_folder

    if len(paths) > 1 or not is_folder(paths[0]):
        raise click.UsageError("give one folder of people, or --name NAME with the photos of one person")
    return paths[0]


def _photos(paths: tuple[Path, ...], manifest: Path | None, name: str | None) -> Iterable["PersonPhoto"]:
    from faceid.vision.photo_list import PersonPhoto, photos_of_manifest, photos_of_people

    if manifest is not None:
        return photos_of_manifest(manifest)
    if name is not None:
        person = name
        return (PersonPhoto(picture, person) for picture in pictures(paths, None))
    return photos_of_people(paths[0])


def _clips(paths: tuple[Path, ...], manifest: Path | None, name: str | None) -> Sequence["PersonClip"]:
    from faceid.video.enrolling import PersonClip, clips_of_manifest, clips_of_people

    if manifest is not None:
        return clips_of_manifest(manifest)
    return clips_of_people(paths[0]) if name is None else [PersonClip(path, name) for path in paths]


def _until(enough: Event, items: Iterable[Item]) -> Iterator[Item]:
    return takewhile(lambda _: not enough.is_set(), items)


def _counted(results: Iterable["Enrollment"], counts: Counter[str]) -> Iterator["Enrollment"]:
    for result in results:
        counts[result.status] += 1
        yield result


def _row(result: "Enrollment") -> dict[str, object]:
    return {
        "status": result.status,
        "name": result.label,
        "photo": result.source,
        "why": ", ".join(result.reason_codes),
    }


def _summary(gallery: "Gallery", counts: Counter[str], seconds: dict[str, float], whose: str) -> str:
    photos = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items()) or "no photos"
    spent = ", ".join(f"{step} {time:.1f}" for step, time in seconds.items())
    # The peak is in KiB on Linux and in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return (
        f"{photos}; {gallery.place} now holds {counted(gallery.size, 'person', 'people')}. "
        f"Seconds by step{whose}: {spent or 'none'}; peak memory {peak:.0f} MiB."
    )
