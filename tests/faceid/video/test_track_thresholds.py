"""The threshold of tracks: measured on strangers' videos, carried along, or from photos on the safe side."""

from pathlib import Path

import numpy as np
import pytest

from faceid.engine import FaceEngine
from faceid.thresholds import identification_threshold
from faceid.video.track_identity import TrackPolicy
from faceid.video.track_thresholds import (
    calibrate_tracks,
    policy_name,
    threshold_from_photos,
    track_scores,
    track_threshold,
    videos_in,
)
from faceid.vision.images import UInt8Image
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from tests.faceid.video.clips import grey, people, scene, write_video


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of forty strangers, four beside each other in each of ten."""
    folder = tmp_path_factory.mktemp("strangers")
    faces = [photos[0].pixels for photos in people(40, 1, seed=77)]
    for number in range(10):
        four = faces[4 * number : 4 * number + 4]
        write_video(folder / f"{number}.mp4", _four(four))
    (folder / "notes.txt").write_text("no video")
    return folder


def _four(faces: list[UInt8Image]) -> list[UInt8Image]:
    def at(place: int) -> tuple[int, int]:
        return 192 * place, 0

    persons = [([face], lambda _, place=place: at(place)) for place, face in enumerate(faces)]
    return scene(persons, 6, size=(768, 192))


@pytest.mark.slow
def test_strangers_tracks_measure_the_whole_policy(
    shipped_engine: FaceEngine, gallery: Gallery, strangers: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"none")
    videos = videos_in([strangers, tmp_path / "broken.mp4"])
    assert [video.name for video in videos] == [*(f"{number}.mp4" for number in range(10)), "broken.mp4"]
    before = identification_threshold(shipped_engine.model, gallery, 0.1)
    done = calibrate_tracks(shipped_engine, gallery, videos)
    assert (done.videos, len(done.failures)) == (11, 1)
    assert 38 <= done.tracks <= 42
    (saved,) = gallery.calibrations()
    assert saved.data == f"{done.tracks} tracks of strangers in 10 videos"
    highest = [score for video in videos[:10] for score in track_scores(shipped_engine, gallery, video)]
    assert np.sort(np.array(highest, np.float32))[::-1] == pytest.approx(saved.scores, abs=1e-4)

    threshold = track_threshold(shipped_engine, gallery, 0.1)
    assert threshold.measured
    assert threshold.way == "strangers"
    assert threshold.trials == done.tracks
    assert sum(score >= threshold.value for score in highest) <= 0.1 * done.tracks
    # Tracks say nothing of photos, and one policy nothing of another.
    assert identification_threshold(shipped_engine.model, gallery, 0.1) == before
    assert not track_threshold(shipped_engine, gallery, 0.1, TrackPolicy(best=3)).measured

    gallery.rename(gallery.find("Bob")[0].id, "Robert")
    assert track_threshold(shipped_engine, gallery, 0.1).measured  # the same vectors as before
    gallery.remove(gallery.find("Robert")[0].id)
    assert track_threshold(shipped_engine, gallery, 0.1).way == "carried"


def test_from_photos_the_threshold_is_higher_and_marked(shipped_engine: FaceEngine, gallery: Gallery) -> None:
    one = identification_threshold(shipped_engine.model, gallery, 0.1)
    tracks = threshold_from_photos(shipped_engine, gallery, 0.1)
    assert tracks == track_threshold(shipped_engine, gallery, 0.1)
    assert tracks.value > one.value
    assert not tracks.measured
    assert tracks.target_value == 0.1
    assert tracks.data is not None
    assert tracks.data.endswith("photos, corrected for 5 searches a track")
    # One search on one face is a photo.
    single = threshold_from_photos(shipped_engine, gallery, 0.1, TrackPolicy(best=1, decide_after=(1,)))
    assert single.value == pytest.approx(one.value)
    # As if k searches were independent, each alarms 1 - 0.9^(1/k).
    twice = threshold_from_photos(shipped_engine, gallery, 0.1, TrackPolicy(best=1, decide_after=(1, 2)))
    assert twice.value == identification_threshold(shipped_engine.model, gallery, 1 - 0.9**0.5).value


def test_nobody_enrolled_or_nobody_seen_measures_nothing(
    shipped_engine: FaceEngine, gallery: Gallery, tmp_path: Path
) -> None:
    film = write_video(tmp_path / "a.mp4", grey(10))
    with pytest.raises(CalibrationError, match="no track with a good face in 1 videos"):
        calibrate_tracks(shipped_engine, gallery, [film])
    with (
        Gallery.open(tmp_path / "empty", create=shipped_engine.binding) as empty,
        pytest.raises(CalibrationError, match="nobody is enrolled"),
    ):
        calibrate_tracks(shipped_engine, empty, [film])


def test_a_policys_name_changes_with_each_of_its_parts() -> None:
    names = {policy_name(policy) for policy in (TrackPolicy(), TrackPolicy(best=4), TrackPolicy(alike=0.9))}
    assert len(names) == 3
    assert policy_name(TrackPolicy()) == policy_name(TrackPolicy())
