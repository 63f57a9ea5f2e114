"""Tracks: who goes on being whom, by boxes that move on and by vectors that check, split and link again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceid.video.tracker import FaceTracker, SeenFace
from faceid.vision.detection import Box
from indexer.records import FloatVector


def vector(person: int, wobble: float = 0.1, seed: int = 0) -> FloatVector:
    """A unit vector of a person; two of one person have a cosine of about 1 - wobble ** 2, of two people about 0."""
    random = np.random.default_rng((person, seed))
    own = np.zeros(64)
    own[person] = 1
    noise = random.standard_normal(64)
    made = own + wobble * noise / np.linalg.norm(noise)
    return np.asarray(made / np.linalg.norm(made), np.float32)


def box(x: float, y: float = 50, side: float = 40) -> Box:
    return (x, y, side, side)


def tracker(**settings_: float) -> FaceTracker:
    return FaceTracker(split_below=0.3, relink_above=0.6, **settings_)


def test_a_face_that_moves_keeps_its_track_and_two_have_two() -> None:
    follow = tracker()
    for step in range(20):
        faces = [SeenFace(box(10 + 8 * step)), SeenFace(box(300 - 8 * step, y=200))]
        assert follow.update(step / 5, 0, faces) == [1, 2]


def test_the_order_of_the_faces_does_not_matter() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(0)), SeenFace(box(200))]) == [1, 2]
    assert follow.update(0.2, 0, [SeenFace(box(205)), SeenFace(box(5))]) == [2, 1]


def test_people_who_cross_keep_their_tracks_by_their_vectors() -> None:
    follow = tracker()
    told = []
    for step in range(21):
        left, right = box(10 * step), box(200 - 10 * step)
        faces = [SeenFace(left, vector(1, seed=step)), SeenFace(right, vector(2, seed=step))]
        told.append(follow.update(step / 5, 0, faces))
    assert told == [[1, 2]] * 21


def test_another_person_in_the_same_place_begins_another_track() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(50), vector(1))]) == [1]
    assert follow.update(0.2, 0, [SeenFace(box(52), vector(2))]) == [2]


def test_a_face_too_poor_to_tell_people_apart_is_followed_by_its_box() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(50), vector(1))]) == [1]
    assert follow.update(0.2, 0, [SeenFace(box(52), vector(2), clear=False)]) == [1]
    assert follow.update(0.4, 0, [SeenFace(box(54), vector(1, seed=1))]) == [1]


def test_who_leaves_and_comes_back_is_the_same_track_within_a_minute_and_not_later() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(50), vector(1))]) == [1]
    assert follow.gone(0.5) == []
    assert follow.gone(1.5) == [1]
    assert follow.gone(2.0) == []
    assert follow.update(40.0, 0, [SeenFace(box(250), vector(1, seed=1))]) == [1]
    assert follow.gone(42.0) == [1]
    assert follow.update(102.0, 0, [SeenFace(box(250), vector(1, seed=2))]) == [2]


def test_after_a_cut_a_place_means_nothing_and_a_face_everything() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(50), vector(1)), SeenFace(box(200), vector(2))]) == [1, 2]
    assert follow.update(0.2, 1, [SeenFace(box(50), vector(2, seed=1)), SeenFace(box(120), vector(3))]) == [2, 3]
    assert follow.update(0.4, 1, [SeenFace(box(50)), SeenFace(box(120))]) == [2, 3]


def test_a_face_that_nobody_embedded_is_not_taken_over_a_cut() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace(box(50))]) == [1]
    assert follow.update(0.2, 1, [SeenFace(box(50))]) == [2]


def test_one_person_comes_back_once_however_many_look_alike() -> None:
    follow = tracker()
    follow.update(0.0, 0, [SeenFace(box(50), vector(1))])
    follow.gone(5.0)
    numbers = follow.update(5.0, 0, [SeenFace(box(0), vector(1, 0.3, 1)), SeenFace(box(200), vector(1, 0.05, 2))])
    assert numbers == [2, 1]  # the more similar one is it


def test_a_vector_is_asked_for_where_boxes_do_not_tell() -> None:
    follow = tracker()
    assert follow.guess(0.0, 0, [box(50)]) == [None]  # somebody new
    follow.update(0.0, 0, [SeenFace(box(50), vector(1)), SeenFace(box(300), vector(2))])
    assert follow.guess(0.2, 0, [box(52), box(302)]) == [1, 2]
    assert follow.guess(0.2, 1, [box(52), box(302)]) == [None, None]  # after a cut
    assert follow.guess(0.2, 0, [box(52), box(70)]) == [None, None]  # two faces where one was
    follow.update(0.8, 0, [SeenFace(box(50)), SeenFace(box(300), vector(2))])
    assert follow.guess(1.2, 0, [box(52), box(302)]) == [None, 2]  # not confirmed for a second


def test_numbers_go_on_from_the_first_that_is_given() -> None:
    follow = tracker(first_number=7)
    assert not follow.remembers()
    assert follow.update(0.0, 0, [SeenFace(box(50))]) == [7]
    assert follow.remembers()


def test_a_day_of_passers_by_is_forgotten() -> None:
    follow = tracker()
    for step in range(0, 6000, 2):
        follow.update(float(step), 0, [SeenFace(box(50), vector(step % 60, seed=step))])
        follow.gone(float(step))
    assert len(follow._tracks) < 60


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 3.0),
            st.integers(0, 1),
            st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), st.booleans()), max_size=6),
        ),
        max_size=25,
    )
)
def test_every_face_has_a_track_and_no_two_of_a_frame_the_same(
    frames: list[tuple[float, int, list[tuple[int, int, bool]]]],
) -> None:
    follow = tracker()
    seconds, shot = 0.0, 0
    for passed, cut, people in frames:
        seconds, shot = seconds + passed, shot + cut
        faces = [SeenFace(box(x), vector(who, seed=x) if told else None) for x, who, told in people]
        assert len(follow.guess(seconds, shot, [face.box for face in faces])) == len(faces)
        numbers = follow.update(seconds, shot, faces)
        assert len(numbers) == len(set(numbers)) == len(faces)
        assert set(follow.gone(seconds)).isdisjoint(numbers)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), min_size=2, max_size=20))
def test_with_vectors_no_track_ever_holds_two_people(frames: list[list[int]]) -> None:
    follow = tracker()
    owner: dict[int, int] = {}
    for step, people in enumerate(frames):
        faces = [SeenFace(box(60 * place), vector(who, seed=step)) for place, who in enumerate(people)]
        for who, number in zip(people, follow.update(step / 5, 0, faces), strict=True):
            assert owner.setdefault(number, who) == who


def test_boxes_of_no_size_are_no_trouble() -> None:
    follow = tracker()
    assert follow.update(0.0, 0, [SeenFace((5, 5, 0, 0)), SeenFace((5, 5, 0, 0))]) == [1, 2]
    assert follow.update(0.2, 0, []) == []
    assert follow.gone(np.inf) == [1, 2] or pytest.fail("both have gone")
