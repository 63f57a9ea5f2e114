"""Enrolling people from clips: the best faces of the one person whom a clip shows, enrolled as photos."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faceid.engine import DEFAULT_LIMITS, FaceEngine
from faceid.results import Enrollment
from faceid.video.events import Event
from faceid.video.frames import VideoError
from faceid.video.reader import Sampling
from faceid.video.sources import VIDEO_SUFFIXES, open_source
from faceid.video.track_identity import TrackFace, TrackPolicy
from faceid.video.watcher import Watcher
from faceid.vision.photo_list import TOO_MANY_CELLS, PersonPhoto, PhotoListError, Row, has_too_many_cells, manifest_rows
from faceid.vision.picture import Picture
from faceid.vision.quality import Limits
from indexer.decision.decision import user_threshold
from indexer.gallery import Gallery
from indexer.text import printable

MOST_OF_OTHERS = 0.2
"""Frames of other people, as a share of the person's, above which a clip does not show one person."""

_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d{1,9})?)", re.ASCII)
_NOBODY = user_threshold(1.0)


@dataclass(frozen=True)
class PersonClip:
    """A clip of a named person, or the part of it from `start` to `end` seconds."""

    path: Path
    name: str
    external_id: str | None = None
    start: float = 0.0
    end: float | None = None


def clips_of_people(folder: str | os.PathLike[str]) -> list[PersonClip]:
    """Return the clips of a folder, sorted: FOLDER/NAME/any.mp4 and FOLDER/NAME.mp4. Raises PhotoListError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PhotoListError(f"{printable(folder)}: not a folder")
    clips = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            clips += [PersonClip(path, printable(entry.name)) for path in sorted(entry.iterdir()) if _is_video(path)]
        elif _is_video(entry):
            clips.append(PersonClip(entry, printable(entry.stem)))
    if not clips:
        raise PhotoListError(f"{printable(folder)}: no clips in it (NAME.mp4, or NAME/any.mp4)")
    return clips


def clips_of_manifest(manifest: str | os.PathLike[str]) -> list[PersonClip]:
    """Return the clips of a CSV file with columns `path,name[,external_id][,start,end]`, times in seconds or h:mm:ss.

    Paths are relative to the file's folder. Raises PhotoListError naming the line that is wrong.
    """
    manifest = Path(manifest)
    return [_clip_of(row, manifest, line) for line, row in manifest_rows(manifest)]


def enroll_clips(
    engine: FaceEngine,
    gallery: Gallery,
    clips: Iterable[PersonClip],
    *,
    limits: Limits | None = DEFAULT_LIMITS,
    restore: bool = False,
    again: bool = False,
    keep_crops: bool = False,
) -> Iterator[Enrollment]:
    """Enrol the best faces of each clip; one result a face, or one that says why a clip gave none.

    A clip that shows others beside the person is rejected; frames that are all but one photo count as one. The same
    clip again enrols nothing twice. `limits`, `restore`, `again`, `keep_crops` as in `FaceEngine.enroll`.
    """
    for clip in clips:
        source = printable(clip.path)
        try:
            faces, reason = _faces_of(engine, gallery, clip)
        except VideoError as error:
            yield Enrollment(source, clip.name, "failed", ("unreadable",), message=str(error))
            continue
        if reason:
            yield Enrollment(source, clip.name, "rejected", (reason,), external_id=clip.external_id)
            continue
        photos = [_photo(clip, face) for face in faces]
        yield from engine.enroll(
            gallery, photos, faces="largest", limits=limits, restore=restore, again=again, keep_crops=keep_crops
        )


def time_of(text: str) -> float:
    """Return the seconds of `12.5`, `1:02` or `1:02:03.5`; raises ValueError."""
    matched = _TIME.fullmatch(text.strip())
    if matched is None:
        raise ValueError(f"{text!r} is no time: give seconds, or h:mm:ss")
    hours, minutes, seconds = matched.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _faces_of(engine: FaceEngine, gallery: Gallery, clip: PersonClip) -> tuple[tuple[TrackFace, ...], str | None]:
    """Return the best faces of a clip's person, or the reason why there is none."""
    watcher = Watcher(
        engine,
        gallery,
        open_source(clip.path),
        _NOBODY,
        policy=TrackPolicy(),
        sampling=Sampling(start=clip.start, end=clip.end),
        keep_pictures=True,
    )
    tracks: dict[int, Event] = {}
    for look in watcher.looks():
        tracks |= {event.track: event for event in look.events if event.event == "lost" and event.track is not None}
    if not tracks:
        return (), "no_face"
    frames = {number: event.frames_seen or 0 for number, event in tracks.items()}
    person = max(frames, key=lambda number: frames[number])
    if sum(frames.values()) - frames[person] > MOST_OF_OTHERS * frames[person]:
        return (), "several_faces"
    faces = tracks[person].faces
    return faces, None if faces else "no_face"


def _photo(clip: PersonClip, face: TrackFace) -> PersonPhoto:
    assert face.picture is not None
    name = f"{printable(clip.path.absolute())}#t={face.seconds:.3f}"
    return PersonPhoto(Picture(face.picture, name, face.seconds), clip.name, clip.external_id)


def _clip_of(row: Row, manifest: Path, line: int) -> PersonClip:
    if has_too_many_cells(row):
        raise PhotoListError(f"{printable(manifest)}, line {line}: {TOO_MANY_CELLS}")
    path, name = row.get("path") or "", row.get("name") or ""
    if not path or not name:
        raise PhotoListError(f"{printable(manifest)}, line {line}: the row lacks the path or the name")
    try:
        start, end = (time_of(text) if (text := row.get(column)) else None for column in ("start", "end"))
    except ValueError as error:
        raise PhotoListError(f"{printable(manifest)}, line {line}: {error}") from error
    if end is not None and end <= (start or 0.0):
        raise PhotoListError(f"{printable(manifest)}, line {line}: the end does not lie after the start")
    return PersonClip(manifest.parent / path, name, (row.get("external_id") or "").strip() or None, start or 0.0, end)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
