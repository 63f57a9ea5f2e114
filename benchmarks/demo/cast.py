"""Who appears in the demo: generated people, or those of the user's folder, each in one role.

Some are enrolled and come back on other photos; the rest are strangers: some set the threshold, some are then shown to
the engine, and all that are not shown are distractors.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.demo.people import write_people
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from indexer.errors import FaceIdError
from indexer.records import clean_name
from indexer.text import printable

SEED = 2017  # of everything that is drawn; the year of SphereFace
SPARE = 50  # one distractor in 50 more than needed: in a few drawn photos, as in real ones, no face is found


class DemoError(FaceIdError):
    """The demo cannot be given: too few people, or an output folder that is not its own."""


@dataclass(frozen=True)
class CastSizes:
    """How many people and photos take part, at most."""

    enrolled: int = 40
    photos_each: int = 3
    probes_each: int = 2
    strangers: int = 60
    calibration: int = 200
    distractors: int = 1000


# What a folder must have to show anything: known people, strangers to measure with (FPIR 0.25 at least), and to show.
LEAST = CastSizes(enrolled=5, photos_each=1, probes_each=1, strangers=5, calibration=12, distractors=0)


@dataclass(frozen=True)
class Cast:
    """The photos of each role; `distractors` are one photo each of people who are neither enrolled nor shown.

    The first `calibration` distractors set the threshold. `faces` says which face of a photo counts.
    """

    generated: bool
    origin: str
    faces: FacePolicy
    enrolled: tuple[PersonPhoto, ...]
    probes: tuple[PersonPhoto, ...]
    strangers: tuple[PersonPhoto, ...]
    distractors: tuple[PersonPhoto, ...]
    calibration: int


def generated_cast(folder: Path, sizes: CastSizes | None = None) -> Cast:
    """Draw everybody from the face model and write their photos below `folder`."""
    sizes = sizes or CastSizes()
    each = sizes.photos_each + sizes.probes_each
    known = _named(write_people(folder / "people", sizes.enrolled, each, SEED))
    strangers = write_people(folder / "strangers", sizes.strangers, 1, SEED + 1, prefix="stranger")
    others = write_people(
        folder / "others",
        max(sizes.calibration, sizes.distractors + sizes.distractors // SPARE),
        1,
        SEED + 2,
        prefix="other",
    )
    return Cast(
        generated=True,
        origin="people drawn from the face model that comes with the demo",
        faces="exactly-one",
        enrolled=tuple(photo for i, photo in enumerate(known) if i % each < sizes.photos_each),
        probes=tuple(photo for i, photo in enumerate(known) if i % each >= sizes.photos_each),
        strangers=_named(strangers),
        distractors=_named(others),
        calibration=sizes.calibration,
    )


def cast_of_folder(folder: Path, sizes: CastSizes | None = None) -> Cast:
    """Give the people of a folder, one sub-folder each, their roles, the same at every run.

    People with one photo are strangers; where they are too few, others take that part with their first photo. Raises
    DemoError for a folder with too few people or photos.
    """
    sizes = sizes or CastSizes()
    photos: dict[str, list[PersonPhoto]] = defaultdict(list)
    for photo in photos_of_people(folder):
        if photo.reason_code is None:
            name = clean_name(photo.name)  # as the gallery will call them
            photos[name].append(replace(photo, name=name))
    names = [sorted(photos)[i] for i in np.random.default_rng(SEED).permutation(len(photos))]
    several = [name for name in names if len(photos[name]) > 1]
    single = [name for name in names if len(photos[name]) == 1]
    need = LEAST.strangers + LEAST.calibration
    spare = max(0, len(several) - LEAST.enrolled)
    # With many people of several photos, at most half of them turn strangers; never more than the demo needs.
    wanted = max(need - len(single), min(len(several) // 2, sizes.strangers + sizes.calibration - len(single)))
    turned = several[len(several) - max(0, min(spare, wanted)) :]
    known = several[: len(several) - len(turned)][: sizes.enrolled]
    outside = single + turned
    if len(known) < LEAST.enrolled or len(outside) < need:
        raise DemoError(
            f"{printable(folder)} holds {len(names)} people (one folder each), {len(several)} of them with two photos "
            f"or more; the demo needs at least {LEAST.enrolled + need} people, {LEAST.enrolled} of them with two photos"
        )
    shown = min(sizes.strangers, len(outside) * LEAST.strangers // need)
    firsts = [photos[name][0] for name in outside]
    enrolled, probes = [], []
    for name in known:
        kept = min(sizes.photos_each, len(photos[name]) - 1)
        enrolled += photos[name][:kept]
        probes += photos[name][kept : kept + sizes.probes_each]
    distractors = firsts[shown:][: max(sizes.distractors, sizes.calibration)]
    return Cast(
        generated=False,
        origin=printable(folder),
        faces="largest",
        enrolled=tuple(enrolled),
        probes=tuple(probes),
        strangers=tuple(firsts[:shown]),
        distractors=tuple(distractors),
        calibration=min(sizes.calibration, len(distractors)),
    )


def _named(paths: list[Path]) -> tuple[PersonPhoto, ...]:
    return tuple(PersonPhoto(path, path.parent.name) for path in paths)
