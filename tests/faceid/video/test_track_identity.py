"""A track's template: its best faces, weighted by quality, and when it is searched."""

import numpy as np
import pytest

from faceid.video.track_identity import TrackFace, TrackIdentity, TrackPolicy
from faceid.vision.quality import Quality

GOOD = Quality(face_size=112, detection_score=1.0, sharpness=100, turn=0.0)


def quality(overall: float) -> Quality:
    """A good face whose worst measure is this."""
    return Quality(face_size=112, detection_score=1.0, sharpness=100 * overall, turn=0.0)


def face(direction: list[float], overall: float = 1.0, seconds: float = 0.0) -> TrackFace:
    vector = np.array(direction) / np.linalg.norm(direction)
    return TrackFace(seconds, (0, 0, 40, 40), quality(overall), vector.astype(np.float32))


def test_the_template_is_the_mean_weighted_by_quality() -> None:
    track = TrackIdentity(TrackPolicy())
    track.add(face([1, 0], overall=0.75))
    track.add(face([0, 1], overall=0.25))
    # 0.75 (1, 0) + 0.25 (0, 1), brought to unit length
    assert track.template() == pytest.approx([0.9486833, 0.3162278])


def test_the_best_faces_stay_and_the_best_of_all_is_the_first() -> None:
    track = TrackIdentity(TrackPolicy(best=2))
    for direction, overall in (([1, 0, 0], 0.3), ([0, 1, 0], 0.9), ([0, 0, 1], 0.6)):
        track.add(face(direction, overall))
    assert [one.quality.overall for one in track.faces] == pytest.approx([0.9, 0.6])
    assert track.best is track.faces[0]


def test_frames_that_are_all_but_one_photo_count_as_one_and_the_better_stays() -> None:
    track = TrackIdentity(TrackPolicy())
    for seconds, overall in enumerate((0.5, 0.8, 0.6)):
        track.add(face([1, 0.01 * seconds], overall, seconds))
    assert [one.seconds for one in track.faces] == [1]
    assert track.good == 3


def test_a_track_is_searched_after_so_many_good_faces_and_not_for_ever() -> None:
    track = TrackIdentity(TrackPolicy(decide_after=(1, 3, 5)))
    searched = [number for number in range(1, 200) if track.add(face([1, number]))]
    assert searched == [1, 3, 5]


def test_a_poor_face_is_never_wanted_and_a_good_one_while_it_may_change_something() -> None:
    track = TrackIdentity(TrackPolicy(best=1, eager=2))
    assert not track.wants(Quality(face_size=10, detection_score=1.0, sharpness=100, turn=0.0))
    assert track.wants(quality(0.3))
    track.add(face([1, 0], 0.5))
    track.add(face([0, 1], 0.5))
    assert not track.wants(quality(0.4))
    assert track.wants(quality(0.6))
    assert GOOD.overall == 1.0
