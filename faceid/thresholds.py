"""Where a threshold comes from: the gallery's own strangers first, then its model's cohort; and how both are made."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine, Features, Photos, explain
from faceid.model_binding import require_same_model
from faceid.models import model_zoo
from faceid.models.model_file import Model
from faceid.pipeline import PictureFaces
from faceid.results import Record
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto
from indexer.calibration.calibration import (
    FROM_ITSELF,
    MIN_IDENTITIES,
    SuspectedDuplicate,
    calibrate_from_gallery,
    calibrate_from_strangers,
    calibrate_model,
    calibrate_pairs,
)
from indexer.calibration.cohort import FEWEST_STRANGERS, PHOTOS_A_PERSON, Cohort, make_cohort
from indexer.calibration.held_out import HeldOut, held_out
from indexer.calibration.known_searches import (
    both,
    enrolled_as_strangers,
    mated_searches,
    probability_of,
    stranger_searches,
)
from indexer.calibration.own_scores import own_scores
from indexer.calibration.self_measured import kept_data, measure_with_kept, threshold_with_cohort
from indexer.decision.carried import carried_threshold
from indexer.decision.decision import Calibration, Circumstances, Kind, Target, Threshold, choose_threshold
from indexer.errors import CalibrationError
from indexer.fusion import FUSIONS
from indexer.gallery import Gallery
from indexer.records import Ids, KeptStrangers
from indexer.text import counted, printable

TRACKS = "tracks"
"""How the policy of a calibration begins that was measured on tracks of videos: it says nothing of photos."""

# Gallery sizes at which a model's table is measured, as far as the photos reach; each leaves strangers to search with.
MODEL_GALLERY_SIZES = (30, 100, 300, 1000, 3000, 10_000)
FEWEST_PAIRS = 30
"""Pairs of different people that bear a FAR of 10 % (rule of three); fewer measure nothing."""


@dataclass(frozen=True)
class GalleryCalibration:
    """What calibrating a gallery searched and left out: photos without a face, copies, people enrolled twice.

    `searches` counts the faces of strangers, 0 where everybody was searched among all the others. `check`, where rates
    to check were given, says what the thresholds are worth on people who did not set them.
    """

    searches: int = 0
    failures: tuple[PictureFaces, ...] = ()
    suspected_duplicates: tuple[SuspectedDuplicate, ...] = ()
    check: HeldOut | None = None


def identification_threshold(
    model: Model, gallery: Gallery, fpir: float, *, photos: int = 1, detector: str | None = None
) -> Threshold:
    """Return the threshold at which the share `fpir` of strangers is taken for somebody in this gallery as it is.

    `photos` are the photos of one unknown that are decided on together; what another detector than `detector` (the
    engine's digest of it) was calibrated with does not count. What was measured with strangers of one's own
    comes first, where it still fits or can be carried along; then what the model's cohort scores in this gallery.
    Raises ModelMismatch for a gallery of another model, and CalibrationError where nobody is enrolled, or where nothing
    was measured that holds for this gallery and rate.
    """
    require_same_model(model, gallery)
    if not gallery.size:
        raise CalibrationError(
            f"nobody is enrolled in {printable(gallery.place)}, so everybody is unknown;"
            " type `faceid enroll PEOPLE_DIR`"
        )
    found: list[Threshold] = []
    refusals: list[str] = []
    for way in _ways(model, gallery, fpir, photos, detector):
        try:
            threshold = way()
        except CalibrationError as error:
            refusals.append(str(error))
            continue
        if threshold.supported:
            return threshold
        found.append(threshold)
    if found:
        return found[0]
    raise CalibrationError(
        f"{refusals[0] if refusals else f'nothing has been measured for FPIR {fpir:g}'}; type `faceid calibrate"
        " --strangers DIR` (photos of people who are not in the gallery) or `faceid models calibrate"
        f" {model.spec.name} --photos DIR` (a folder of photos a person), or give --threshold"
    )


def _ways(
    model: Model, gallery: Gallery, fpir: float, photos: int, detector: str | None
) -> Iterator[Callable[[], Threshold]]:
    """Yield the ways to come by a threshold, the best first."""
    cohort = model_zoo.load_cohort(model)
    if photos == 1:
        yield from _own_ways(gallery, cohort, fpir, detector)
    if cohort is not None:
        yield partial(_of_cohort, gallery, cohort, fpir, photos)
    elif photos == 1 and gallery.decided_on == "similarity" and gallery.contents().templates_of.max(initial=0) == 1:
        # Measured with one template a person, of similarities: what it says holds for such galleries alone.
        table = model_zoo.load_calibrations(model)
        yield lambda: replace(choose_threshold(table, "fpir", fpir, gallery.size, "model"), way="table")


def _own_ways(
    gallery: Gallery, cohort: Cohort | None, fpir: float, detector: str | None
) -> Iterator[Callable[[], Threshold]]:
    """Yield what was measured on this gallery: with strangers that it keeps, as it still is, and as it was."""
    kept = gallery.kept_strangers()
    newest_first = list(reversed(gallery.calibrations()))
    of_kept = (one.circumstances for one in newest_first if one.data == kept_data(len(kept.vectors)))
    found_by = next((then.detector for then in of_kept if then is not None), detector)  # not noted by older versions
    if len(kept.vectors) and detector in (None, found_by):
        yield lambda: _of_kept(gallery, kept, fpir)
    own = [
        (one, one.circumstances)
        for one in newest_first
        if one.target == "fpir"
        and one.circumstances is not None
        and not one.circumstances.quality_policy.startswith(TRACKS)
        and one.on == gallery.decided_on
    ]
    own = [(one, then) for one, then in own if detector in (None, then.detector)]
    contents = gallery.contents().digest if own else ""
    for one, then in own:
        if (then.contents, one.fusion) == (contents, gallery.fusion):
            yield partial(_as_it_is, one, fpir)
    for one, then in own:
        if cohort is not None and then.cohort == cohort.key:
            yield partial(_carried, gallery, cohort, one, fpir)


def _as_it_is(calibration: Calibration, fpir: float) -> Threshold:
    threshold = choose_threshold([calibration], "fpir", fpir, calibration.gallery_size, "gallery", calibration.on)
    return replace(threshold, way="gallery" if calibration.data == FROM_ITSELF else "strangers")


def _of_kept(gallery: Gallery, kept: KeptStrangers, fpir: float) -> Threshold:
    calibration = measure_with_kept(gallery, kept)
    threshold = choose_threshold([calibration], "fpir", fpir, gallery.size, "gallery", calibration.on)
    return replace(threshold, way="strangers")


def _carried(gallery: Gallery, cohort: Cohort, calibration: Calibration, fpir: float) -> Threshold:
    now = gallery.ask_cohort(cohort.strangers, cohort.key, calibration.on).scores
    return carried_threshold(calibration, now, fpir, gallery.size)


def _of_cohort(gallery: Gallery, cohort: Cohort, fpir: float, photos: int) -> Threshold:
    """Measure with as many photos of a stranger as the cohort has, up to those that are decided on."""
    for count in range(min(photos, PHOTOS_A_PERSON), 1, -1):
        with suppress(CalibrationError):
            return threshold_with_cohort(gallery, cohort, fpir, count)
    return threshold_with_cohort(gallery, cohort, fpir)


def verification_threshold(model: Model, gallery: Gallery | None, far: float) -> Threshold:
    """Return the threshold at which the share `far` of pairs of different people passes as one person.

    Raises CalibrationError when neither gallery nor model has been calibrated, or on too few pairs.
    """
    tables: list[tuple[Sequence[Calibration], Kind]] = [
        (gallery.calibrations() if gallery else [], "gallery"),
        (model_zoo.load_calibrations(model), "model"),
    ]
    refusal = "neither this gallery nor its model has been calibrated for FAR"
    for table, kind in tables:
        if any(calibration.target == "far" for calibration in table):
            try:
                return choose_threshold(table, "far", far, None, kind)
            except CalibrationError as error:
                refusal = str(error)
    raise CalibrationError(
        f"{refusal}; type `faceid models calibrate {model.spec.name} --photos DIR` (a folder of photos a person),"
        " or give --threshold"
    )


def calibrate_gallery(
    engine: FaceEngine,
    gallery: Gallery,
    strangers: Photos | None,
    *,
    faces: FacePolicy,
    checked_fpirs: Sequence[float] = (),
    keep_strangers: bool = False,
) -> GalleryCalibration:
    """Measure the gallery's non-mated scores and keep them in it: for FPIR, and for FAR between its people.

    `strangers` are photos of people who are not enrolled, as `photos_in` lists them; each face is one non-mated
    search. With `keep_strangers` their vectors stay in the gallery, and whatever changes in it is measured anew; kept
    ones of an earlier call go. Without strangers everybody is searched among all the others. Where enough people have
    several templates, the law of a match's probability is kept too. Raises CalibrationError where there is too little
    for an FPIR, and for strangers whose photos are enrolled.
    """
    precision = engine.pipeline.embedder.precision
    circumstances = circumstances_of(engine, gallery, faces)
    if strangers is None:
        fpir, duplicates = calibrate_from_gallery(gallery, precision=precision)
        outcome = GalleryCalibration(suspected_duplicates=tuple(duplicates))
        twice = [identity for pair in duplicates for identity in (pair.first_id, pair.second_id)]
        non_mated = enrolled_as_strangers(gallery, np.array(twice, np.int64))
    else:
        features = engine.embed(strangers, faces=faces, each_once=True)
        if features.failures and not features.paths:
            raise CalibrationError(f"no face of a stranger was found: {explain(features.failures[0])}, and so on")
        _require_strangers(gallery, features)
        count = len(features.paths)
        data = kept_data(count) if keep_strangers else f"{count} faces of strangers"
        fpir = calibrate_from_strangers(gallery, features.vectors, data=data, precision=precision)
        outcome = GalleryCalibration(count, features.failures, tuple(_enrolled_twice(gallery)))
        persons = _persons(features.paths)
        non_mated = stranger_searches(gallery, features.vectors, persons)
        if keep_strangers:
            gallery.keep_strangers(features.vectors, persons)
    searches = both(mated_searches(gallery), non_mated)
    with suppress(CalibrationError):  # too few people with several templates: an FPIR needs none
        fpir = replace(fpir, probability=probability_of(searches))
    fpir = replace(fpir, circumstances=circumstances)
    gallery.save_calibrations([fpir, *_pairs_of_gallery(gallery, outcome.suspected_duplicates, precision)])
    return replace(
        outcome, check=held_out(searches, gallery.size, checked_fpirs, gallery.decided_on) if checked_fpirs else None
    )


def _enrolled_twice(gallery: Gallery) -> Sequence[SuspectedDuplicate]:
    """Return who spoils the pairs of different people; nobody where there are too few people for a FAR."""
    return calibrate_from_gallery(gallery)[1] if gallery.size >= MIN_IDENTITIES else ()


def _require_strangers(gallery: Gallery, features: Features) -> None:
    """Raise CalibrationError for photos that are enrolled: what is measured with them lets nobody pass."""
    known = gallery.enrolled([digest for digest in set(features.digests) if digest])
    enrolled = [
        path
        for path, digest in zip(features.paths, features.digests, strict=False)
        if any(not one.removed for one in known.get(digest or b"", ()))
    ]
    if enrolled:
        raise CalibrationError(
            f"{len(enrolled)} of the {len(features.paths)} faces of strangers, such as that on {enrolled[0]}, are on"
            " photos that are enrolled here; strangers are people who are not"
        )


def circumstances_of(engine: FaceEngine, gallery: Gallery, faces: FacePolicy | str) -> Circumstances:
    """Say what the gallery is and how faces are found (`faces`), and what the model's cohort scores in it."""
    contents = gallery.contents()
    cohort = model_zoo.load_cohort(engine.model)
    return Circumstances(
        contents.digest,
        contents.templates,
        engine.detector_digest,
        faces,
        None if cohort is None else cohort.key,
        None if cohort is None else gallery.ask_cohort(cohort.strangers, cohort.key, gallery.decided_on).scores,
    )


def calibrate_model_from_photos(
    engine: FaceEngine, people: Iterable[PersonPhoto], data: str, *, faces: FacePolicy
) -> tuple[PictureFaces, ...]:
    """Make a model's cohort and table from photos of labelled people, and keep both beside the model.

    The cohort (FEWEST_STRANGERS people at least) lets every gallery of the model measure itself; people with several
    photos give it the law of mated scores, without which there are no probabilities. The table is for FAR, and shows
    what FPIR costs at several sizes. Returns the photos that gave no face, or are copies. Raises CalibrationError, and
    keeps the table that was there, for people who make fewer than FEWEST_PAIRS pairs.
    """
    features = engine.embed(people, faces=faces, each_once=True)
    persons = len(set(features.labels))
    if persons < 2 and features.failures:
        why = f"{counted(len(features.failures), 'photo', 'photos')} gave no face: {explain(features.failures[0])}"
        raise CalibrationError(f"{counted(persons, 'person', 'people')} are not enough, it takes two; {why}, and so on")
    precision = engine.pipeline.embedder.precision
    calibrations = calibrate_model(
        features.vectors,
        features.labels,
        [size for size in MODEL_GALLERY_SIZES if size <= persons / 2],
        model_digest=engine.model.digest,
        data=data,
        precision=precision,
    )
    pairs = calibrations[-1].trials
    if pairs < FEWEST_PAIRS:
        raise CalibrationError(
            f"{counted(persons, 'person', 'people')} make {counted(pairs, 'pair', 'pairs')} to measure with, it takes"
            f" {FEWEST_PAIRS}; give photos of more people; the table that was there is left as it was"
        )
    model_zoo.save_calibrations(engine.model, calibrations)
    if persons >= FEWEST_STRANGERS:
        cohort = make_cohort(
            features.vectors,
            features.labels,
            model_digest=engine.model.digest,
            data=data,
            date=datetime.now(UTC).date().isoformat(),
            detector=engine.detector_digest,
            precision=precision,
            own_scores=own_scores(features.vectors, features.labels, FUSIONS),
        )
        model_zoo.save_cohort(engine.model, cohort)
    return features.failures


def gallery_rows(
    model: Model, gallery: Gallery, fpirs: Sequence[float], fars: Sequence[float], *, detector: str | None = None
) -> list[Record]:
    """Return a gallery's threshold table as records: a rate a row, measured, extrapolated, or refused and why.

    What another detector than `detector` (the engine's digest of it) was calibrated with does not count.
    """
    choose = partial(identification_threshold, model, gallery, detector=detector)
    searches = [threshold_row("fpir", fpir, partial(choose, fpir)) for fpir in fpirs]
    pairs = [threshold_row("far", far, partial(verification_threshold, model, gallery, far)) for far in fars]
    return searches + pairs


def model_rows(model: Model, fpirs: Sequence[float], fars: Sequence[float]) -> list[Record]:
    """Return a model's threshold table as records: each FPIR at each gallery size that was measured, then each FAR."""
    table = model_zoo.load_calibrations(model)
    sizes = sorted(calibration.gallery_size for calibration in table if calibration.gallery_size is not None)
    searches = [
        threshold_row("fpir", fpir, partial(choose_threshold, table, "fpir", fpir, size, "model"), size)
        for fpir in fpirs
        for size in sizes
    ]
    pairs = [threshold_row("far", far, partial(choose_threshold, table, "far", far, None, "model")) for far in fars]
    return searches + pairs


def _persons(paths: Sequence[str]) -> Ids:
    """Return the number of the person on each photo of a stranger: a folder is a person, a single one holds many."""
    folders = [str(Path(path).parent) for path in paths]
    names = folders if len(set(folders)) > 1 else paths
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _pairs_of_gallery(
    gallery: Gallery, duplicates: Sequence[SuspectedDuplicate], precision: str
) -> Iterator[Calibration]:
    """Yield the FAR measured between the gallery's own people, if there are enough of them to say anything."""
    embeddings = gallery.embeddings()
    left_out = {identity for pair in duplicates for identity in (pair.first_id, pair.second_id)}
    kept = [row for row, identity in enumerate(embeddings.identity_ids.tolist()) if identity not in left_out]
    people = embeddings.identity_ids[kept]
    if len(set(people.tolist())) >= MIN_IDENTITIES:
        yield calibrate_pairs(
            embeddings.vectors[kept],
            [str(identity) for identity in people.tolist()],
            model_digest=gallery.model.digest,
            data=FROM_ITSELF,
            precision=precision,
        )


def threshold_row(
    target: Target, value: float, choose: Callable[[], Threshold], gallery_size: int | None = None
) -> Record:
    """Return the row of a threshold table for one rate: measured, extrapolated, or refused and why."""
    record: Record = {
        "target": target,
        "value": value,
        "gallery_size": gallery_size,
        "threshold": None,
        "kind": None,
        "basis": "refused",
        "trials": None,
        "ci95": None,
        "data": None,
        "date": None,
        "reason": None,
    }
    try:
        threshold = choose()
    except CalibrationError as error:
        return record | {"reason": str(error)}
    return record | {
        "gallery_size": threshold.gallery_size,
        "threshold": round(threshold.value, 6),
        "kind": threshold.kind,
        "basis": "measured" if threshold.measured else "extrapolated",
        "trials": threshold.trials,
        "ci95": None if threshold.ci95 is None else [float(f"{bound:.3g}") for bound in threshold.ci95],
        "data": threshold.data,
        "date": threshold.date,
    }
