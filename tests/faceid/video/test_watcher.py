"""Watching a film: who is told when, what is corrected, who has left, and that nobody is named who is gone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceid import ModelMismatch
from faceid.engine import FaceEngine
from faceid.video.events import Event
from faceid.video.frames import VideoError
from faceid.video.reader import Sampling
from faceid.video.sources import VideoFile
from faceid.video.track_identity import TrackPolicy
from faceid.video.watcher import Watcher, cutting, link_similarities, watch
from indexer.decision.decision import Threshold, user_threshold
from indexer.gallery import Gallery
from indexer.records import ModelBinding
from tests.faceid.video.clips import grey, scene, write_video
from tests.faceid.video.conftest import ANN, Cast
from tests.indexer.made_up_people import unit_vectors

HALF = user_threshold(0.5)


def told(events: list[Event]) -> list[tuple[str, int | None, str | None]]:
    return [(one.event, one.track, one.identity.name if one.identity else None) for one in events]


def events_of(
    engine: FaceEngine, gallery: Gallery, film: Path, threshold: Threshold | Callable[[], Threshold] = HALF
) -> list[Event]:
    return list(watch(engine, gallery, VideoFile(film), threshold))


@pytest.fixture(scope="module")
def film_events(shipped_engine: FaceEngine, cast: Cast, film: Path) -> list[Event]:
    """What the film tells, watched once."""
    with Gallery.open(cast.gallery) as gallery:
        return events_of(shipped_engine, gallery, film)


@pytest.mark.slow
def test_a_film_is_told_person_by_person(film_events: list[Event]) -> None:
    events = film_events
    assert told(events) == [
        ("identified", 1, "Ann"),
        ("lost", 1, "Ann"),
        ("identified", 1, "Ann"),  # she is back: the same track
        ("unknown", 2, None),
        ("identified", 3, "Bob"),
        ("lost", 1, "Ann"),
        ("lost", 2, None),
        ("lost", 3, "Bob"),
        ("source_ended", None, None),
    ]
    first, left = events[0], events[1]
    assert first.seconds == 0.0  # at the first good face
    assert left.first_seconds == 0.0
    assert left.last_seconds == pytest.approx(1.8)
    assert left.seconds <= 3.2  # a second after she was last seen
    assert left.frames_seen == 10
    assert left.best is not None
    assert 0 <= left.best.seconds <= 1.8
    assert left.answer is not None
    assert left.answer.probability is not None
    assert left.answer.probability > 0.9
    assert events[-1].counts is not None
    assert events[-1].counts.decoded == 200


@pytest.mark.slow
def test_an_event_is_a_record_of_plain_values(shipped_engine: FaceEngine, film_events: list[Event], film: Path) -> None:
    record = film_events[0].record()
    assert (record["event"], record["decision"], record["source"]) == ("identified", "identified", str(film))
    assert record["identity"] is not None
    assert record["identity"]["name"] == "Ann"
    assert record["threshold"] == 0.5
    assert record["threshold_source"] is not None
    assert record["threshold_source"]["kind"] == "user"
    assert record["box"] is not None
    assert len(record["box"]) == 4
    assert record["at"] is None
    assert record["candidates"][0]["name"] == "Ann"
    assert record["model"] == shipped_engine.model.spec.name


@pytest.mark.slow
def test_an_early_answer_is_corrected_aloud(
    shipped_engine: FaceEngine, gallery: Gallery, cast: Cast, tmp_path: Path
) -> None:
    similarity = [
        one.answer.similarity
        for one in events_of(shipped_engine, gallery, write_video(tmp_path / "a.mp4", _ann(cast)))
        if one.answer and one.event in ("identified", "lost")
    ]
    first, last = (one or 0.0 for one in similarity)
    assert last > first  # the mean of several faces is nearer to her
    between = user_threshold((first + last) / 2)
    events = events_of(shipped_engine, gallery, tmp_path / "a.mp4", between)
    assert told(events)[:2] == [("unknown", 1, None), ("revised", 1, "Ann")]
    assert events[1].before is not None
    assert events[1].before.decision == "unknown"
    record = events[1].record()
    assert record["before"] == {"decision": "unknown", "identity": None}
    assert told(events)[2:] == [("lost", 1, "Ann"), ("source_ended", None, None)]


def _ann(cast: Cast) -> list[np.ndarray]:
    return scene([(cast.photos[ANN], lambda number: (20 + number, 20))], 75)


@pytest.mark.slow
def test_who_is_erased_while_being_watched_is_not_named_again(
    shipped_engine: FaceEngine, gallery: Gallery, cast: Cast, tmp_path: Path
) -> None:
    film = write_video(tmp_path / "a.mp4", _ann(cast))
    events = []
    for event in watch(shipped_engine, gallery, VideoFile(film), HALF):
        events.append(event)
        if event.event == "identified":
            gallery.erase(event.identity.id if event.identity else 0)
    assert told(events) == [
        ("identified", 1, "Ann"),
        ("revised", 1, None),
        ("lost", 1, None),
        ("source_ended", None, None),
    ]
    assert "Ann" not in str([event.record() for event in events[2:]])


@pytest.mark.slow
def test_a_threshold_that_is_a_function_is_asked_again_when_the_gallery_changes(
    shipped_engine: FaceEngine, gallery: Gallery, cast: Cast, tmp_path: Path
) -> None:
    film = write_video(tmp_path / "a.mp4", _ann(cast))
    thresholds = iter([HALF, user_threshold(0.99)])
    events = []
    for event in watch(shipped_engine, gallery, VideoFile(film), lambda: next(thresholds)):
        events.append(event)
        if event.event == "identified":
            gallery.rename(gallery.find("Bob")[0].id, "Robert")
    assert told(events)[1] == ("revised", 1, None)
    assert events[1].threshold == user_threshold(0.99)


@pytest.mark.slow
def test_a_face_too_poor_to_judge_is_told_when_it_leaves(
    shipped_engine: FaceEngine, gallery: Gallery, film: Path
) -> None:
    from faceid.vision.quality import Limits

    strict = TrackPolicy(limits=Limits(face_size=1000))
    events = list(watch(shipped_engine, gallery, VideoFile(film), HALF, policy=strict))
    assert {one.event for one in events} == {"lost", "source_ended"}
    assert {one.answer.decision for one in events if one.answer} == {"rejected_quality"}


def test_nobody_is_nothing_but_an_end(shipped_engine: FaceEngine, gallery: Gallery, tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", grey(30))
    assert told(events_of(shipped_engine, gallery, film)) == [("source_ended", None, None)]


@pytest.mark.slow
def test_only_what_lies_between_start_and_end_is_watched(
    shipped_engine: FaceEngine, gallery: Gallery, film: Path
) -> None:
    events = list(watch(shipped_engine, gallery, VideoFile(film), HALF, sampling=Sampling(start=2.5, end=5.5)))
    assert {one[::2] for one in told(events)[:2]} == {("identified", "Ann"), ("unknown", None)}
    assert events[0].seconds == pytest.approx(4.0)


@pytest.mark.slow
def test_looking_near_the_last_faces_tells_the_same(shipped_engine: FaceEngine, gallery: Gallery, film: Path) -> None:
    watcher = Watcher(shipped_engine, gallery, VideoFile(film), HALF, full_scan_every=3)
    events = [event for look in watcher.looks() for event in look.events]
    names = {(one.event, one.identity.name if one.identity else None) for one in events}
    assert {("identified", "Ann"), ("identified", "Bob"), ("unknown", None)} <= names
    with pytest.raises(ValueError, match="1 or more"):
        Watcher(shipped_engine, gallery, VideoFile(film), HALF, full_scan_every=0)


@pytest.mark.slow
def test_a_look_says_which_track_each_face_is(shipped_engine: FaceEngine, gallery: Gallery, film: Path) -> None:
    looks = [look for look in Watcher(shipped_engine, gallery, VideoFile(film), HALF).looks() if look.frame]
    assert len(looks) == 40
    assert [face.track for face in looks[0].faces] == [1]
    assert sorted(face.track for face in looks[25].faces) == [1, 2]
    assert looks[12].faces == ()


@pytest.mark.slow
def test_stopping_tells_who_was_there(shipped_engine: FaceEngine, gallery: Gallery, film: Path) -> None:
    watcher = Watcher(shipped_engine, gallery, VideoFile(film), HALF)
    events = []
    for look in watcher.looks():
        events += look.events
        watcher.stop()
    assert told(events)[0] == ("identified", 1, "Ann")
    assert told(events)[-2:] == [("lost", 1, "Ann"), ("source_ended", None, None)]
    assert len(events) == 3


def test_a_gallery_of_another_model_and_a_file_that_is_none_are_refused(
    shipped_engine: FaceEngine, gallery: Gallery, tmp_path: Path
) -> None:
    other = ModelBinding("other", "1" * 64, 8)
    with Gallery.open(tmp_path / "other", create=other) as foreign, pytest.raises(ModelMismatch):
        next(watch(shipped_engine, foreign, VideoFile(write_video(tmp_path / "a.mp4", grey(3))), HALF))
    (tmp_path / "b.mp4").write_bytes(b"none")
    with pytest.raises(VideoError, match="not a video"):
        events_of(shipped_engine, gallery, tmp_path / "b.mp4")


def test_a_gallery_that_is_brought_over_to_another_model_ends_the_watching(
    shipped_engine: FaceEngine, cast: Cast, gallery: Gallery, tmp_path: Path
) -> None:
    """Whoever watches for months, at a threshold that was typed, would be told of nobody any more."""
    ann = write_video(tmp_path / "ann.mp4", scene([(cast.photos[ANN][:1], lambda _: (20, 20))], 30))
    with Gallery.open(gallery.path) as reader:
        events = watch(shipped_engine, reader, VideoFile(ann), HALF)
        assert next(events).event == "identified"
        templates = [one.id for one in gallery.templates()]
        other = ModelBinding("other", "1" * 64, gallery.model.dimension)
        gallery.add_embeddings(other, templates, unit_vectors(len(templates), other.dimension))
        gallery.switch_model(other)
        with pytest.raises(ModelMismatch, match="bound to the model 'other'"):
            list(events)


def test_tracks_split_and_link_by_what_the_models_pairs_reach(shipped_engine: FaceEngine, gallery: Gallery) -> None:
    split, relink = link_similarities(shipped_engine, gallery)
    assert 0.2 < split < relink < 0.8


def test_a_cutting_does_not_hang_on_the_last_digits_of_a_box() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    one, other = (cutting(pixels, (50.0 + shift, 60.0, 40.0, 50.0 - shift)) for shift in (0.001, 0.002))
    assert one.shape == other.shape
    # From 290 - 0.6 * 40 = 266, that is 264, to the picture's edges; from 166, that is 160, likewise.
    assert cutting(pixels, (290, 190, 40, 40)).shape == (40, 36, 3)
