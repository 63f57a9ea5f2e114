"""The threshold of tracks: measured on strangers' videos, or read off photos with a correction."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine
from faceid.models import model_zoo
from faceid.thresholds import TRACKS, circumstances_of, identification_threshold
from faceid.video.frames import VideoError
from faceid.video.reader import Sampling
from faceid.video.sources import VIDEO_SUFFIXES, open_source
from faceid.video.track_identity import TrackPolicy
from faceid.video.watcher import Watcher
from indexer.calibration.cohort import PHOTOS_A_PERSON
from indexer.decision.carried import carried_threshold
from indexer.decision.decision import MAX_STORED, Calibration, Threshold, choose_threshold, user_threshold
from indexer.errors import CalibrationError
from indexer.gallery import Gallery

_NOBODY = user_threshold(1.0)


@dataclass(frozen=True)
class TrackCalibration:
    """What calibrating with videos found: how many strangers' tracks were searched, and the videos that failed."""

    tracks: int
    videos: int
    failures: tuple[VideoError, ...] = ()


def track_threshold(engine: FaceEngine, gallery: Gallery, fpir: float, policy: TrackPolicy | None = None) -> Threshold:
    """Return the threshold at which the share `fpir` of strangers' tracks is ever taken for somebody in the gallery.

    What strangers' videos measured comes first (`calibrate_tracks`), as the gallery is or carried along by the model's
    cohort. Else it follows from photos, `extrapolated`: every search of a track is taken for an independent one, with
    as many photos as it has faces. Raises CalibrationError and ModelMismatch as `identification_threshold`.
    """
    policy = policy or TrackPolicy()
    engine.require_same_model(gallery)
    refusals: list[CalibrationError] = []
    found: list[Threshold] = []
    for calibration in _fitting(engine, gallery, policy):
        try:
            threshold = _measured(engine, gallery, calibration, fpir)
        except CalibrationError as error:
            refusals.append(error)
            continue
        if threshold.supported:
            return threshold
        found.append(threshold)
    try:
        from_photos = threshold_from_photos(engine, gallery, fpir, policy)
    except CalibrationError:
        if found:
            return found[0]
        if refusals:
            raise refusals[0] from None
        raise
    return from_photos if from_photos.supported or not found else found[0]


def threshold_from_photos(
    engine: FaceEngine, gallery: Gallery, fpir: float, policy: TrackPolicy | None = None
) -> Threshold:
    """Return a threshold for tracks from what is known of photos: on the safe side, since frames are alike.

    k searches, as if independent, alarm f a track where each alarms 1 - (1 - f)^(1/k); a search on the mean of n faces
    has the threshold of n photos of one unknown. The highest of them is taken.
    """
    policy = policy or TrackPolicy()
    searches = len(policy.decide_after)
    each = 1 - (1 - fpir) ** (1 / searches)
    photos = sorted({min(count, policy.best, PHOTOS_A_PERSON) for count in policy.decide_after})
    highest = max(
        (
            identification_threshold(engine.model, gallery, each, photos=count, detector=engine.detector_digest)
            for count in photos
        ),
        key=lambda threshold: threshold.value,
    )
    low, high = highest.ci95 or (0.0, 1.0)
    return replace(
        highest,
        target_value=fpir,
        measured=False,
        ci95=(low, min(1.0, searches * high)),  # from one search that alarms whenever another does, to independent ones
        data=f"{highest.data}; photos, corrected for {searches} searches a track",
    )


def calibrate_tracks(
    engine: FaceEngine,
    gallery: Gallery,
    videos: Iterable[str | Path],
    *,
    policy: TrackPolicy | None = None,
    sampling: Sampling | None = None,
) -> TrackCalibration:
    """Run the whole policy on videos of people who are not enrolled, and keep what their tracks reached.

    Each track with a good face is one non-mated search; its score is the best of all its searches. Videos that give no
    frames are in `failures`. Raises CalibrationError where nobody is enrolled, or no track had a good face.
    """
    policy = policy or TrackPolicy()
    if not gallery.size:
        raise CalibrationError("nobody is enrolled: there is nobody whom a stranger could be taken for")
    scores: list[float] = []
    failures: list[VideoError] = []
    count = 0
    for video in videos:
        count += 1
        try:
            scores += track_scores(engine, gallery, video, policy, sampling)
        except VideoError as error:
            failures.append(error)
    if not scores:
        raise CalibrationError(f"no track with a good face in {count} videos: nothing was measured")
    tail = np.sort(np.array(scores, np.float32))[::-1][:MAX_STORED]
    counted = f"{len(scores)} tracks of strangers in {count - len(failures)} videos"
    gallery.save_calibrations(
        [
            Calibration(
                target="fpir",
                scores=np.ascontiguousarray(tail),
                trials=len(scores),
                gallery_size=gallery.size,
                templates_per_identity=gallery.stats().templates_per_identity,
                fusion=gallery.fusion,
                model_digest=gallery.model.digest,
                precision=engine.pipeline.embedder.precision,
                data=counted,
                date=datetime.now(UTC).date().isoformat(),
                circumstances=circumstances_of(engine, gallery, policy_name(policy)),
                on=gallery.decided_on,
            )
        ]
    )
    return TrackCalibration(len(scores), count, tuple(failures))


def track_scores(
    engine: FaceEngine,
    gallery: Gallery,
    video: str | Path,
    policy: TrackPolicy | None = None,
    sampling: Sampling | None = None,
) -> list[float]:
    """Return for each track of a video that has a good face the best score of all its searches."""
    nobody = replace(_NOBODY, on=gallery.decided_on)
    watcher = Watcher(engine, gallery, open_source(video), nobody, policy=policy, sampling=sampling)
    highest: dict[int, float] = {}
    for look in watcher.looks():
        for event in look.events:
            if event.event == "lost" and event.track is not None and event.highest is not None:
                highest[event.track] = event.highest  # a track that came back is lost twice; the later says more
    return list(highest.values())


def videos_in(paths: Sequence[Path]) -> list[Path]:
    """Return the video files among these paths and in the folders among them, in order."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.rglob("*") if one.suffix.lower() in VIDEO_SUFFIXES and one.is_file())
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            found.append(path)
    return found


def policy_name(policy: TrackPolicy) -> str:
    """Return what stands for a policy in a calibration: thresholds of one policy are not those of another."""
    return f"{TRACKS} {hashlib.sha256(repr(sorted(asdict(policy).items())).encode()).hexdigest()[:16]}"


def _fitting(engine: FaceEngine, gallery: Gallery, policy: TrackPolicy) -> Iterator[Calibration]:
    """Yield the calibrations with this policy and detector, of the gallery as it is first, the newest first."""
    own = [
        one
        for one in reversed(gallery.calibrations())
        if one.circumstances is not None
        and one.on == gallery.decided_on
        and one.circumstances.quality_policy == policy_name(policy)
        and one.circumstances.detector == engine.detector_digest
    ]
    contents = gallery.contents().digest if own else ""
    yield from sorted(own, key=lambda one: not _is_as_it_was(one, contents, gallery))


def _measured(engine: FaceEngine, gallery: Gallery, calibration: Calibration, fpir: float) -> Threshold:
    if _is_as_it_was(calibration, gallery.contents().digest, gallery):
        threshold = choose_threshold(
            [calibration], "fpir", fpir, calibration.gallery_size or 1, "gallery", calibration.on
        )
        return replace(threshold, way="strangers")
    cohort = model_zoo.load_cohort(engine.model)
    then = calibration.circumstances
    if cohort is None or then is None or then.cohort != cohort.key:
        raise CalibrationError(
            "the gallery has changed since its strangers' videos were searched; type `faceid calibrate --strangers"
            " VIDEO_DIR` again"
        )
    now = gallery.ask_cohort(cohort.strangers, cohort.key, calibration.on).scores
    return carried_threshold(calibration, now, fpir, gallery.size)


def _is_as_it_was(calibration: Calibration, contents: str, gallery: Gallery) -> bool:
    then = calibration.circumstances
    return then is not None and (then.contents, calibration.fusion) == (contents, gallery.fusion)
