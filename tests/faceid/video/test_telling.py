"""What becomes of events: once in a while, in a file that is gone on with, as pictures of faces."""

import csv
import json
import os
import resource
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from faceid.video.annotated_video import annotated_video
from faceid.video.event_file import EventFile, EventFileError, Resumed
from faceid.video.events import Event
from faceid.video.face_files import save_faces, save_unknown
from faceid.video.frames import Frame, VideoError
from faceid.video.once_per import OncePer
from faceid.video.watcher import Look
from indexer.errors import FileNotWritten
from tests.faceid.video.made_events import NOON, event, face


def seconds_of(events: list[Event]) -> list[float]:
    return [one.seconds for one in events]


def test_a_person_is_told_once_in_the_time_and_what_else_that_track_says_is_left_out_too() -> None:
    events = [
        event("identified", 0, track=1, person=7),
        event("lost", 5, track=1, person=7),
        event("identified", 20, track=2, person=7),
        event("lost", 25, track=2, person=7),
        event("identified", 30, track=3, person=8),
        event("unknown", 31, track=4),
        event("identified", 32, track=5, person=7, source="other.mp4"),
        event("identified", 61, track=6, person=7),
    ]
    assert seconds_of(list(OncePer(60).through(events))) == [0, 5, 30, 31, 32, 61]


def test_what_is_revised_is_always_told() -> None:
    events = [
        event("identified", 0, track=1, person=7),
        event("identified", 10, track=2, person=7),
        event("revised", 12, track=2),
        event("lost", 15, track=2),
    ]
    assert seconds_of(list(OncePer(60).through(events))) == [0, 12, 15]


def test_of_a_live_source_the_clock_counts_over_a_new_start() -> None:
    once = OncePer(60)
    once.remember([event("identified", 500, person=7, at=NOON).record()])
    soon, later = (event("identified", 1, person=7, at=NOON + timedelta(seconds=s)) for s in (30, 61))
    assert list(once.through([soon, later])) == [later]


def test_read_again_after_a_kill_a_file_tells_what_it_told() -> None:
    events = [event("identified", s, track=t, person=7) for t, s in enumerate((10, 40, 75), start=1)]
    told = list(OncePer(60).through(events))
    assert seconds_of(told) == [10, 75]
    for begin in (0, 1):  # from the beginning, and from a place after the first
        again = OncePer(60)
        again.remember([one.record() for one in told])
        assert seconds_of(list(again.through(events[begin:]))) == [10, 75][begin:]


def test_events_are_on_the_disk_before_they_are_passed_on_and_none_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    events = [
        event("identified", 1, person=7),
        event("lost", 3, person=7),
        event("unknown", 9, track=2, resume=(5.0, 2)),
        event("lost", 12, track=2, resume=(5.0, 2)),
    ]
    file = EventFile(path)
    passing = file.through(events)
    for number in (1, 2, 3):
        next(passing)
        assert len(path.read_text().splitlines()) == number
    file.close()  # killed here
    with path.open("a") as torn:
        torn.write('{"event": "los')

    again = EventFile(path, resume=True)
    assert again.resumed("film.mp4", live=False) == Resumed(5.0, 2)
    assert list(again.through(events[2:])) == events[3:]
    again.close()
    assert [json.loads(line)["seconds"] for line in path.read_text().splitlines()] == [1, 3, 9, 12]


def test_another_answer_at_the_same_place_is_written(tmp_path: Path) -> None:
    with_ann, with_bob = event("identified", 1, person=7), event("identified", 1, person=8)
    file = EventFile(tmp_path / "e.jsonl")
    assert len(list(file.through([with_ann, with_bob, with_ann]))) == 2


def test_a_source_that_ended_is_done_and_a_live_one_begins_with_new_numbers(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "e.jsonl")
    list(
        file.through(
            [
                event("source_ended", 20),
                event("unknown", 4, track=9, source="rtsp://camera/1", at=NOON),
                event("lost", 6, track=4, source="rtsp://camera/1", at=NOON),
            ]
        )
    )
    file.close()
    again = EventFile(tmp_path / "e.jsonl", resume=True)
    assert again.resumed("film.mp4", live=False).done
    assert again.resumed("rtsp://camera/1", live=True) == Resumed(0.0, 10)
    assert again.resumed("another.mp4", live=False) == Resumed(0.0, 1)
    # What a camera tells is new, whatever its seconds.
    assert len(list(again.through([event("unknown", 4, track=9, source="rtsp://camera/1", at=NOON)]))) == 1


def test_a_file_of_events_is_not_written_over_and_another_file_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    list(EventFile(path).through([event("unknown", 1)]))
    with pytest.raises(EventFileError, match="--resume goes on with them"):
        EventFile(path)
    path.write_text('{"event": "unknown"}\n')
    with pytest.raises(EventFileError, match="line 1: not an event"):
        EventFile(path, resume=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotWritten):
        EventFile(tmp_path / "folder" / "e.jsonl" / "e.jsonl") if _file(tmp_path / "folder" / "e.jsonl") else None


def test_events_go_to_no_pipe_which_would_be_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotWritten, match="it is a pipe"):
        EventFile(tmp_path / "pipe")


@pytest.mark.parametrize("content", ["my notes", "one\ntwo", '{"mine": 1}\nand the ta', "\n\nlast"])
def test_a_file_that_is_none_of_events_keeps_its_last_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(EventFileError, match=r"notes\.txt, line 1: not an event"):
        EventFile(path, resume=True)
    assert path.read_text() == content


def test_a_first_event_that_was_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    list(EventFile(path).through([event("unknown", 1)]))
    whole = path.read_text()
    for length in (1, 30, len(whole) - 1):
        path.write_text(whole[:length])
        assert len(list(EventFile(path, resume=True).through([event("unknown", 1)]))) == 1
        assert path.read_text() == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decision", "[1]"),
        ("track", '"z"'),
        ("track", "true"),
        ("resume_at", "1e999"),
        ("resume_at", "NaN"),
        ("resume_at", '"soon"'),
        ("resume_at", "-1"),
        ("resume_track", "1.5"),
        ("source", "[" * 200_000),
    ],
    ids=lambda text: text[:9],
)
def test_values_that_no_event_has_are_refused(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "e.jsonl"
    list(EventFile(path).through([event("unknown", 1), event("unknown", 2)]))
    first, second = path.read_text().splitlines()
    old = f'"{name}": {json.dumps(json.loads(second)[name])}'
    assert old in second
    path.write_text(f"{first}\n{second.replace(old, f'{chr(34)}{name}{chr(34)}: {value}')}\n{first[:9]}")
    content = path.read_text()
    with pytest.raises(EventFileError, match="line 2: not an event"):
        EventFile(path, resume=True)
    assert path.read_text() == content


def _file(path: Path) -> Path:
    path.write_text("")
    return path


def test_the_best_face_of_each_track_is_written_under_no_persons_name(tmp_path: Path) -> None:
    events = [event("identified", 1, person=7), event("lost", 3, person=7), event("lost", 4, track=2)]
    folder = tmp_path / "faces"
    assert list(save_faces(events, folder)) == events
    first, *names = sorted(path.name for path in folder.iterdir())
    assert first == "faces.csv"
    assert [name[:22] for name in names] == ["film-mp4-track-000001-", "film-mp4-track-000002-"]
    assert stat.S_IMODE((folder / names[0]).stat().st_mode) == 0o600
    with (folder / "faces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["decision"], row["name"]) for row in rows] == [
        (names[0], "identified", "Person 7"),
        (names[1], "unknown", ""),
    ]


def test_faces_of_unknown_people_are_a_folder_a_track(tmp_path: Path) -> None:
    events = [event("lost", 3, person=7), event("lost", 4, track=2), event("unknown", 5, track=3)]
    assert list(save_unknown(events, tmp_path)) == events
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("film-mp4-track-000002-")
    assert sorted(path.name for path in folder.iterdir()) == ["1.jpg", "2.jpg"]


def test_people_of_two_cameras_and_of_the_next_day_are_not_mixed(tmp_path: Path) -> None:
    sources = ("rtsp://front/live", "rtsp://back/live", "rtsp://front/live")
    events = [
        replace(event("lost", 3, source=source, at=NOON), first_seconds=shade / 7, faces=(face(brightness=shade),) * 2)
        for source, shade in zip(sources, (40, 80, 120), strict=True)
    ]
    events = [replace(one, best=one.faces[0]) for one in events]
    better = face(brightness=123)
    back = replace(events[2], best=better, faces=(better, *events[2].faces[1:]))  # who came back and left again
    for keep in (save_faces, save_unknown):
        list(keep([*events, back], tmp_path / keep.__name__))
        list(keep(events[:1], tmp_path / keep.__name__))  # watched again
    assert len(list((tmp_path / "save_faces").glob("live-track-000001-*.jpg"))) == 3
    for folder in (tmp_path / "save_unknown").iterdir():
        assert len({round(np.asarray(Image.open(file)).mean(), -1) for file in folder.iterdir()}) == 1
    assert len(list((tmp_path / "save_unknown").rglob("*.jpg"))) == 6


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotWritten, match="could not be written"):
        list(save_faces([event("lost", 3)], tmp_path / "file"))


def looks(count: int) -> list[Look]:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    return [Look(Frame(number / 5, 0, noise), (), ()) for number in range(count)]


def test_a_disk_that_takes_no_annotated_video_is_named_and_keeps_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "drawn.mp4"
    file.write_bytes(b"of yesterday")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(FileNotWritten, match="could not be written: File too large"):
            list(annotated_video(looks(20), file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(VideoError, match="no frame was looked at"):
        list(annotated_video(looks(0), file))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("drawn.mp4", b"of yesterday")]


def test_an_encoder_that_fails_is_told_as_a_disk_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise av.error.ExternalError(0, "Generic error in an external library")

    monkeypatch.setattr("faceid.video.annotated_video._encode", broken)
    with pytest.raises(FileNotWritten, match=r"drawn\.mp4 could not be written: Generic error"):
        list(annotated_video(looks(2), tmp_path / "drawn.mp4"))
    assert not list(tmp_path.iterdir())
