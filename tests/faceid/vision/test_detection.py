"""Which of a photo's faces are used: the policies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceid.vision.detection import FACE_POLICIES, Faces, NotExactlyOneFace, select_faces

SIZE = (200, 100)  # width, height


def faces(*boxes, scores=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.99, 0.9, len(boxes), dtype=np.float32) if scores is None else np.asarray(scores, np.float32)
    landmarks = np.arange(len(boxes) * 10, dtype=np.float32).reshape(-1, 5, 2)
    return Faces(boxes, landmarks, scores)


SMALL_IN_THE_CENTRE = (90, 40, 20, 20)
LARGE_AT_THE_EDGE = (0, 0, 50, 60)
TALL_AT_THE_OTHER_EDGE = (180, 0, 20, 90)


def test_largest_takes_the_largest_area_and_keeps_its_landmarks():
    found = faces(SMALL_IN_THE_CENTRE, LARGE_AT_THE_EDGE, TALL_AT_THE_OTHER_EDGE)
    chosen = select_faces(found, "largest", SIZE)
    np.testing.assert_array_equal(chosen.boxes, [LARGE_AT_THE_EDGE])
    np.testing.assert_array_equal(chosen.landmarks, found.landmarks[1:2])
    np.testing.assert_array_equal(chosen.scores, found.scores[1:2])


def test_centre_takes_the_box_nearest_to_the_middle_of_the_photo():
    chosen = select_faces(faces(LARGE_AT_THE_EDGE, TALL_AT_THE_OTHER_EDGE, SMALL_IN_THE_CENTRE), "centre", SIZE)
    np.testing.assert_array_equal(chosen.boxes, [SMALL_IN_THE_CENTRE])


def test_centre_reads_the_size_as_width_then_height():
    right, low = (140, 40, 20, 20), (40, 140, 20, 20)
    np.testing.assert_array_equal(select_faces(faces(right, low), "centre", (300, 100)).boxes, [right])
    np.testing.assert_array_equal(select_faces(faces(right, low), "centre", (100, 300)).boxes, [low])


def test_of_equals_the_better_score_wins():
    twins = faces((0, 40, 20, 20), (180, 40, 20, 20))
    assert select_faces(twins, "largest", SIZE).scores == twins.scores[:1]


def test_exactly_one_gives_the_one():
    assert len(select_faces(faces(LARGE_AT_THE_EDGE), "exactly-one", SIZE)) == 1


@pytest.mark.parametrize(("boxes", "reason"), [([], "no_face"), ([LARGE_AT_THE_EDGE] * 2, "several_faces")])
def test_exactly_one_refuses_any_other_number_with_its_reason(boxes, reason):
    with pytest.raises(NotExactlyOneFace) as refusal:
        select_faces(faces(*boxes), "exactly-one", SIZE)
    assert refusal.value.reason_code == reason


@pytest.mark.parametrize("policy", ["largest", "centre", "all"])
def test_a_photo_without_a_face_gives_no_face(policy):
    assert len(select_faces(Faces.none(), policy, SIZE)) == 0


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="exactly-one, largest, centre, all"):
        select_faces(faces(LARGE_AT_THE_EDGE), "biggest", SIZE)


box = st.tuples(*[st.floats(0, 100, width=32)] * 2, *[st.floats(1, 100, width=32)] * 2)


@given(st.lists(box, min_size=1, max_size=6), st.sampled_from([p for p in FACE_POLICIES if p != "exactly-one"]))
def test_a_policy_only_ever_chooses_among_the_faces_found(boxes, policy):
    found = faces(*boxes)
    chosen = select_faces(found, policy, SIZE)
    assert len(chosen) == (len(found) if policy == "all" else 1)
    assert {tuple(row) for row in chosen.boxes.tolist()} <= {tuple(row) for row in found.boxes.tolist()}
