"""Clips with known truth: who is where in each frame, and how much of a face can be seen."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurements.video_clips import (
    HEIGHT,
    WAYS,
    WIDTH,
    Portrait,
    TrueFace,
    _seen,
    kind_of,
    read_truth,
    write_clip,
)
from benchmarks.measurements.video_tracks import Seen, _delays, followed
from faceid.video.sources import VideoFile


def test_a_clip_has_two_shots_and_one_person_in_both(tmp_path: Path) -> None:
    photos = [np.full((192, 192, 3), grey, np.uint8) for grey in (30, 120, 220)]
    people = [(who, [Portrait(photo, (60, 60, 70, 80))]) for who, photo in zip((7, 8, 9), photos, strict=True)]
    write_clip(tmp_path / "a.mp4", 0, people, seconds=2)
    truth = read_truth(tmp_path / "a.mp4")
    assert len(truth) == len(list(VideoFile(tmp_path / "a.mp4").frames())) == 20
    assert [sorted(face.person for face in faces) for faces in truth] == [[7, 8]] * 10 + [[8, 9]] * 10
    again = read_truth(tmp_path / "a.mp4")
    write_clip(tmp_path / "a.mp4", 0, people, seconds=2)
    assert read_truth(tmp_path / "a.mp4") == again


def test_fifteen_clips_have_every_way_shaken_and_blurred() -> None:
    kinds = [kind_of(number) for number in range(15)]
    assert {kind.ways[0] for kind in kinds} == set(WAYS)
    assert {(kind.shaken, kind.blurred) for kind in kinds} == {(False, False), (True, False), (False, True)}


def test_what_is_outside_or_behind_another_face_is_not_seen() -> None:
    assert _seen((10, 10, 40, 40), []) == 1
    assert _seen((-20, 10, 40, 40), []) == 0.5
    assert _seen((WIDTH - 10, HEIGHT - 10, 40, 40), []) == pytest.approx(1 / 16, abs=0.01)
    assert _seen((10, 10, 40, 40), [(30, 10, 40, 40)]) == 0.5


def seen(tracks: list[int]) -> Seen:
    """One person in four frames, not found in the first."""
    there = [TrueFace(3, (0, 0, 10, 10), 1.0)]
    boxes = np.array([(0, 0, 10, 10)] * 3, np.float64)
    return Seen(
        np.array([0.2, 0.4, 0.6]),
        boxes,
        np.array([3, 3, 3]),
        np.ones(3),
        np.ones(3, np.bool_),
        np.ones((3, 2), np.float32),
        [(step / 5, 0, there) for step in range(4)],
        np.array(tracks),
    )


def test_a_face_is_found_so_long_after_it_could_be_seen() -> None:
    assert list(_delays(seen([1, 1, 1]))) == [0.2]


def test_identity_f1_and_switches_are_trackevals() -> None:
    pytest.importorskip("trackeval", reason="pip install --no-deps trackeval")
    row = followed([seen([1, 1, 2])])
    # Track 1 is the person: 2 of 4 true faces; 1 of 3 faces is the other track's: 2 * 2 / (2 * 2 + 1 + 2).
    assert row["IDF1"] == "0.571"
    assert row["switches"] == 1
    assert row["faces seen of true"] == "3 of 4"
    assert row["with two people"] == 0
