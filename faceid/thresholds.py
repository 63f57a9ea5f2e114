"""Where a threshold comes from: the gallery's own calibration first, then the model's table; and how both are made."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine, Photos
from faceid.models import model_zoo
from faceid.models.model_file import Model
from faceid.pipeline import PictureFaces
from faceid.results import Record
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto
from indexer.calibration.calibration import (
    MIN_IDENTITIES,
    SuspectedDuplicate,
    calibrate_from_gallery,
    calibrate_from_strangers,
    calibrate_model,
    calibrate_pairs,
)
from indexer.calibration.held_out import HeldOut, held_out
from indexer.calibration.known_searches import (
    both,
    enrolled_as_strangers,
    mated_searches,
    probability_of,
    stranger_searches,
)
from indexer.decision.decision import Calibration, Kind, Target, Threshold, choose_threshold
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import Ids

# Gallery sizes at which a model's table is measured, as far as the photos reach; each leaves strangers to search with.
MODEL_GALLERY_SIZES = (30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class GalleryCalibration:
    """What calibrating a gallery left out: photos without a face, and people who may be enrolled twice.

    `check`, where rates to check were given, says what the thresholds are worth on people who did not set them.
    """

    failures: tuple[PictureFaces, ...] = ()
    suspected_duplicates: tuple[SuspectedDuplicate, ...] = ()
    check: HeldOut | None = None


def identification_threshold(model: Model, gallery: Gallery, fpir: float) -> Threshold:
    """Return the threshold at which the share `fpir` of strangers is taken for somebody in this gallery.

    Raises CalibrationError when neither gallery nor model has been calibrated, or their trials cannot support the rate.
    """
    advice = (
        "type `faceid calibrate --strangers DIR`, with photos of people who are not in the gallery, or give --threshold"
    )
    return _supported(gallery.calibrations(), model_zoo.load_calibrations(model), "fpir", fpir, gallery.size, advice)


def verification_threshold(model: Model, gallery: Gallery | None, far: float) -> Threshold:
    """Return the threshold at which the share `far` of pairs of different people passes as one person.

    Raises CalibrationError when neither gallery nor model has been calibrated, or on too few pairs.
    """
    advice = (
        f"type `faceid models calibrate {model.spec.name} --photos DIR`, with one folder of photos per person, "
        "or give --threshold"
    )
    own = gallery.calibrations() if gallery else []
    return _supported(own, model_zoo.load_calibrations(model), "far", far, None, advice)


def calibrate_gallery(
    engine: FaceEngine,
    gallery: Gallery,
    strangers: Photos | None,
    *,
    faces: FacePolicy,
    checked_fpirs: Sequence[float] = (),
) -> GalleryCalibration:
    """Measure the gallery's non-mated scores and keep them in it: for FPIR, and for FAR between its people.

    `strangers` are photos of people who are not enrolled, as `photos_in` lists them; each face is one non-mated
    search. Without them everybody is searched among all the others. Where enough people have several templates, the
    law of a match's probability is kept too. Raises CalibrationError where there is too little for an FPIR.
    """
    precision = engine.pipeline.embedder.precision
    if strangers is None:
        fpir, duplicates = calibrate_from_gallery(gallery, precision=precision)
        outcome = GalleryCalibration(suspected_duplicates=tuple(duplicates))
        twice = [identity for pair in duplicates for identity in (pair.first_id, pair.second_id)]
        non_mated = enrolled_as_strangers(gallery, np.array(twice, np.int64))
    else:
        features = engine.embed(strangers, faces=faces)
        data = f"{len(features.paths)} faces of strangers"
        fpir = calibrate_from_strangers(gallery, features.vectors, data=data, precision=precision)
        outcome = GalleryCalibration(failures=features.failures)
        non_mated = stranger_searches(gallery, features.vectors, _persons(features.paths))
    searches = both(mated_searches(gallery), non_mated)
    with suppress(CalibrationError):  # too few people with several templates: an FPIR needs none
        fpir = replace(fpir, probability=probability_of(searches))
    gallery.save_calibrations([fpir, *_pairs_of_gallery(gallery, outcome.suspected_duplicates, precision)])
    return replace(outcome, check=held_out(searches, gallery.size, checked_fpirs) if checked_fpirs else None)


def calibrate_model_from_photos(
    engine: FaceEngine, people: Iterable[PersonPhoto], data: str, *, faces: FacePolicy
) -> tuple[PictureFaces, ...]:
    """Measure a model's own table from photos of labelled people and keep it beside the model.

    Returns the photos that gave no face. Raises CalibrationError for fewer than two people.
    """
    features = engine.embed(people, faces=faces)
    persons = len(set(features.labels))
    calibrations = calibrate_model(
        features.vectors,
        features.labels,
        [size for size in MODEL_GALLERY_SIZES if size <= persons / 2],
        model_digest=engine.model.digest,
        data=data,
        precision=engine.pipeline.embedder.precision,
    )
    model_zoo.save_calibrations(engine.model, calibrations)
    return features.failures


def gallery_rows(model: Model, gallery: Gallery, fpirs: Sequence[float], fars: Sequence[float]) -> list[Record]:
    """Return a gallery's threshold table as records: a rate a row, measured, extrapolated, or refused and why."""
    searches = [_row("fpir", fpir, partial(identification_threshold, model, gallery, fpir)) for fpir in fpirs]
    pairs = [_row("far", far, partial(verification_threshold, model, gallery, far)) for far in fars]
    return searches + pairs


def model_rows(model: Model, fpirs: Sequence[float], fars: Sequence[float]) -> list[Record]:
    """Return a model's threshold table as records: each FPIR at each gallery size that was measured, then each FAR."""
    table = model_zoo.load_calibrations(model)
    sizes = sorted(calibration.gallery_size for calibration in table if calibration.gallery_size is not None)
    searches = [
        _row("fpir", fpir, partial(choose_threshold, table, "fpir", fpir, size, "model"), size)
        for fpir in fpirs
        for size in sizes
    ]
    pairs = [_row("far", far, partial(choose_threshold, table, "far", far, None, "model")) for far in fars]
    return searches + pairs


def _supported(
    own: Sequence[Calibration],
    models: Sequence[Calibration],
    target: Target,
    value: float,
    gallery_size: int | None,
    advice: str,
) -> Threshold:
    """Return the threshold from the gallery's calibrations, else the model's; the last refusal gets the advice."""
    tables: list[tuple[Sequence[Calibration], Kind]] = [(own, "gallery"), (models, "model")]
    refusal = f"neither this gallery nor its model has been calibrated for {target.upper()}"
    for table, kind in tables:
        fitting = [calibration for calibration in table if calibration.target == target]
        if not fitting:
            continue
        try:
            return choose_threshold(fitting, target, value, gallery_size, kind)
        except CalibrationError as error:
            refusal = str(error)
    raise CalibrationError(f"{refusal}; {advice}")


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
            data="the gallery itself",
            precision=precision,
        )


def _row(target: Target, value: float, choose: Callable[[], Threshold], gallery_size: int | None = None) -> Record:
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
