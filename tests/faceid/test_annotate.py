"""Annotated photos: labels cover no face and no other label, and whatever the photo is, the run goes on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceid.annotate import MAX_SIDE, SMALLEST_TEXT, Rectangle, annotated, draw, place_labels
from faceid.results import Answer
from faceid.vision.picture import Picture
from indexer.decision.decision import user_threshold
from indexer.errors import FileNotWritten


def answer(photo: Path, box: tuple[float, float, float, float] | None) -> Answer:
    return Answer(Picture(photo), "unknown" if box else "no_face", "a model", 1, user_threshold(0.3), box=box)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def crowd(columns: int, rows: int, width: int, height: int, share: float) -> list[Rectangle]:
    """Faces on a grid that fill this share of their cells a side."""
    across, down = width / columns, height / rows
    return [
        (x * across, y * down, x * across + share * across, y * down + share * down)
        for y in range(rows)
        for x in range(columns)
    ]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_labels_of_24_faces_cover_neither_faces_nor_each_other(share: float) -> None:
    boxes = crowd(6, 4, 4000, 3000, share)
    labels = place_labels([f"Somebody Long-Name {i} 0.53" for i in range(24)], boxes, (4000, 3000))
    places = [label.place for label in labels]
    assert not any(overlap(place, box) for place in places for box in boxes)
    assert not any(overlap(one, other) for i, one in enumerate(places) for other in places[:i])
    assert all(left >= 0 and top >= 0 and right < 4000 and bottom < 3000 for left, top, right, bottom in places)


def test_letters_go_with_the_size_of_the_face() -> None:
    boxes = [(100.0, 100.0, 160.0, 160.0), (1000.0, 300.0, 1900.0, 1200.0)]
    small, large = place_labels(["Ann", "Bob"], boxes, (4000, 3000))
    assert small.size == SMALLEST_TEXT
    assert large.size == 150


def test_where_there_is_no_room_the_label_is_small_and_within_the_picture() -> None:
    (label,) = place_labels(["Somebody"], [(0.0, 0.0, 99.0, 99.0)], (100, 100))
    assert label.size == SMALLEST_TEXT
    assert label.place[2] <= 100


def test_the_boxes_of_a_halved_photo_are_drawn_where_the_faces_are() -> None:
    halved = np.zeros((100, 100, 3), np.uint8)
    picture = np.asarray(draw(halved, [answer(Path("x"), (80, 80, 60, 60))], reduction=2))
    assert picture[40:70, 40].any(axis=-1).all()
    assert not picture[45:65, 45:65].any()


@pytest.mark.parametrize("size", [(200_000, 1), (1, 70_000), (1, 1)])
def test_a_photo_of_any_shape_is_drawn_and_the_run_goes_on(size: tuple[int, int], tmp_path: Path) -> None:
    odd, usual = tmp_path / "odd.png", tmp_path / "usual.png"
    Image.new("L", size, 128).save(odd)
    Image.new("L", (40, 40), 128).save(usual)
    answers = [answer(odd, None), answer(usual, (5, 5, 20, 20))]
    assert list(annotated(answers, tmp_path / "drawn")) == answers
    first, _ = sorted((tmp_path / "drawn").iterdir())
    assert max(Image.open(first).size) == min(max(size), MAX_SIDE)


def test_a_box_outside_the_photo_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    draw(np.zeros((40, 40, 3), np.uint8), [answer(tmp_path, (-50, -50, 20, 20)), answer(tmp_path, (30, 30, 900, 900))])


def test_a_folder_that_takes_no_file_is_one_plain_error(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("L", (40, 40), 128).save(photo)
    (tmp_path / "drawn" / "0001-photo.jpg").mkdir(parents=True)
    with pytest.raises(FileNotWritten, match=r"0001-photo\.jpg"):
        list(annotated([answer(photo, None)], tmp_path / "drawn"))
