"""Pictures of the faces of tracks as files: the best of each, and of unknown people several to cluster and to enrol."""

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from faceid.video.events import Event
from faceid.video.track_identity import TrackFace
from faceid.vision.images import UInt8Image
from indexer.durable_file import PRIVATE, replacing
from indexer.errors import FileNotWritten
from indexer.text import csv_cell, printable

_Stems = dict[tuple[str, int | None, float | None], str]  # of tracks by source, number and beginning
_COLUMNS = ("file", "source", "track", "seconds", "decision", "name")


def save_faces(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Pass events on; write the best face of each track that is lost, and a line of `faces.csv` that says whose it is.

    Files are named by source, track and picture, never by a person. Raises FileNotWritten.
    """
    stems: _Stems = {}
    for event in events:
        if event.event == "lost" and event.best is not None and event.best.picture is not None:
            file = folder / f"{_stem(event, event.best.picture, stems)}.jpg"
            _write(file, event.best.picture)
            _list(folder / "faces.csv", file.name, event, event.best)
        yield event


def save_unknown(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Pass events on; write the best faces of each track that stayed unknown: a folder a track, as for `enroll`.

    `faceid cluster FOLDER` finds who of them is one person. Raises FileNotWritten.
    """
    stems: _Stems = {}
    for event in events:
        if event.event == "lost" and event.answer is not None and event.answer.decision == "unknown":
            pictures = [face.picture for face in event.faces if face.picture is not None]
            for number, picture in enumerate(pictures, start=1):
                _write(folder / _stem(event, pictures[0], stems) / f"{number}.jpg", picture)
        yield event


def _stem(event: Event, picture: UInt8Image, stems: _Stems) -> str:
    source = re.sub(r"[^A-Za-z0-9]+", "-", Path(event.source).name).strip("-")[:40] or "source"
    # Tracks are numbered anew by each camera and in each run: another person is never put in the place of the one
    # before, or into one folder with them. What is watched again has the same name, and who comes back keeps it.
    digest = hashlib.sha256(picture.tobytes()).hexdigest()[:8]
    place = event.source, event.track, event.first_seconds
    return stems.setdefault(place, f"{source}-track-{event.track or 0:06d}-{digest}")


def _write(file: Path, picture: UInt8Image) -> None:
    with replacing(file, PRIVATE) as temporary:
        Image.fromarray(picture).save(temporary, format="JPEG", quality=95)


def _list(file: Path, name: str, event: Event, face: TrackFace) -> None:
    try:
        new = not file.exists()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE), "w", encoding="utf-8") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            if new:
                writer.writerow(_COLUMNS)
            decision = event.answer.decision if event.answer else ""
            who = event.identity.label if event.identity else ""
            values = (name, event.source, event.track, round(face.seconds, 3), decision, who)
            writer.writerow([csv_cell(value) if isinstance(value, str) else value for value in values])
    except OSError as error:
        raise FileNotWritten(f"{printable(file)} could not be written: {error.strerror or error}") from error
