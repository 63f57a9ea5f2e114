"""The lists of IJB-B and IJB-C as insightface lays them out: faces, templates, media, pairs, galleries and probes.

In one folder (or its `meta`): `ijbc_face_tid_mid.txt` (image, template, medium), `ijbc_template_pair_label.txt`
(template, template, 1 or 0), `ijbc_name_5pts_score.txt` (image, ten coordinates, detector's score), and for 1:N
`ijbc_1N_gallery_G1.csv`, `_G2.csv` (IJB-B: S1, S2) and `ijbc_1N_probe_mixed.csv`, whose rows begin with TEMPLATE_ID,
SUBJECT_ID; so does a line of headings, which may be missing. NIST's own release has other files.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FaceIdError
from indexer.text import printable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FACES = "_face_tid_mid.txt"
PAIRS = "_template_pair_label.txt"
SCORES = "_name_5pts_score.txt"
GALLERIES = (("_1N_gallery_G1.csv", "_1N_gallery_G2.csv"), ("_1N_gallery_S1.csv", "_1N_gallery_S2.csv"))
PROBES = "_1N_probe_mixed.csv"


class IjbError(FaceIdError):
    """A list that is missing, or not as insightface lays it out."""


@dataclass(frozen=True, eq=False)
class Subjects:
    """Templates and whose they are, int64 [n] each; every template once."""

    template: Ints
    subject: Ints


@dataclass(frozen=True, eq=False)
class IjbMeta:
    """The lists.

    Of F faces: `images` (file names), `template` and `media` int64 [F], `detection` float64 [F] (None where there is no
    such list). Of P pairs: `first` and `second` templates, `same` bool [P]. For 1:N the galleries by name, and the
    probes; empty and None where the lists are not there.
    """

    name: str
    images: tuple[str, ...]
    template: Ints
    media: Ints
    detection: Floats | None
    first: Ints
    second: Ints
    same: NDArray[np.bool_]
    galleries: dict[str, Subjects]
    probes: Subjects | None


def read_meta(folder: Path) -> IjbMeta:
    """Read the lists of one set. Raises IjbError naming the file, and the line, that is not as it should be."""
    found = sorted([*folder.glob(f"*{FACES}"), *folder.glob(f"meta/*{FACES}")])
    if len(found) != 1:
        raise IjbError(f"{printable(folder)}: {len(found)} files named *{FACES} in it, where there should be one")
    name = found[0].name.removesuffix(FACES)
    root = found[0].parent / name
    images, template, media = _faces(found[0])
    scores, probes = Path(f"{root}{SCORES}"), Path(f"{root}{PROBES}")
    first, second, same = _pairs(Path(f"{root}{PAIRS}"), set(np.unique(template).tolist()))
    galleries = {
        ending[-6:-4]: _subjects(Path(f"{root}{ending}"))
        for endings in GALLERIES
        for ending in endings
        if Path(f"{root}{ending}").exists()
    }
    if galleries and (len(galleries) != 2 or not probes.exists()):
        raise IjbError(f"{printable(folder)}: 1:N takes two galleries (G1, G2 or S1, S2) and {name}{PROBES}")
    return IjbMeta(
        name,
        images,
        template,
        media,
        _detection(scores, images) if scores.exists() else None,
        first,
        second,
        same,
        galleries,
        _subjects(probes) if galleries else None,
    )


def _faces(path: Path) -> tuple[tuple[str, ...], Ints, Ints]:
    images, template, media = [], [], []
    for number, line in _lines(path):
        match line.split():
            case [image, tid, mid] if _is_number(tid) and _is_number(mid):
                images.append(image)
                template.append(int(tid))
                media.append(int(mid))
            case _:
                raise IjbError(f"{printable(path)}, line {number}: not `image template medium`")
    if not images:
        raise IjbError(f"{printable(path)}: no face in it")
    return tuple(images), np.array(template, np.int64), np.array(media, np.int64)


def _pairs(path: Path, templates: set[int]) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # an empty file is refused below
            table = np.loadtxt(path, dtype=np.int64, ndmin=2, encoding="utf-8-sig")  # 15.6 million lines in IJB-C
    except (OSError, ValueError) as error:
        raise IjbError(f"{printable(path)}: not a list of `template template label` ({error})") from error
    if table.shape[1:] != (3,) or not len(table) or not np.isin(table[:, 2], (0, 1)).all():
        raise IjbError(f"{printable(path)}: not a list of `template template label`, label 0 or 1")
    unknown = set(np.unique(table[:, :2]).tolist()) - templates
    if unknown:
        raise IjbError(f"{printable(path)}: template {min(unknown)} has no face in the list of faces")
    return table[:, 0].copy(), table[:, 1].copy(), table[:, 2] == 1


def _detection(path: Path, images: tuple[str, ...]) -> Floats:
    scores: dict[str, float] = {}
    for number, line in _lines(path):
        cells = line.split()
        try:
            scores[cells[0]] = score = float(cells[11])
        except (IndexError, ValueError) as error:
            raise IjbError(f"{printable(path)}, line {number}: not `image`, ten coordinates and a score") from error
        if not 0 <= score < math.inf:
            raise IjbError(f"{printable(path)}, line {number}: {cells[11]} is no detector's score, finite and from 0")
    missing = next((image for image in images if image not in scores), None)
    if missing is not None:
        raise IjbError(f"{printable(path)}: no line for {printable(missing)}")
    return np.array([scores[image] for image in images])


def _subjects(path: Path) -> Subjects:
    subject: dict[int, int] = {}
    for number, line in _lines(path):
        cells = line.split(",")
        if len(cells) < 2 or not (_is_number(cells[0].strip()) and _is_number(cells[1].strip())):
            if number == 1:  # TEMPLATE_ID,SUBJECT_ID,...
                continue
            raise IjbError(f"{printable(path)}, line {number}: not `template,subject,...`")
        template, person = int(cells[0]), int(cells[1])
        if subject.setdefault(template, person) != person:
            raise IjbError(f"{printable(path)}, line {number}: template {template} is of two subjects")
    if not subject:
        raise IjbError(f"{printable(path)}: no template in it")
    return Subjects(np.array(list(subject), np.int64), np.array(list(subject.values()), np.int64))


def _is_number(cell: str) -> bool:
    return cell.isdecimal() and len(cell) <= 18  # fits int64


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise IjbError(f"{printable(path)}: cannot be read as text ({error})") from error
