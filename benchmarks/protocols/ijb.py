"""IJB-B and IJB-C: templates of many faces, compared 1:1 and searched 1:N.

1:N is run as the benchmark defines it (Maze et al. 2018): each of the two galleries on its own; a probe whose subject
is not enrolled there is a non-mated search; the threshold for an FPIR comes from the best scores of those; figures are
averaged over the two galleries. `insightface-legacy` is what older scripts print instead, under its own label.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.formats.ijb_meta import IjbMeta, Subjects
from benchmarks.metrics.metrics import Rule, cmc
from benchmarks.metrics.rates import UnsupportedRate
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import rows_of_photos
from benchmarks.protocols.scored_pairs import ScoredPairs, add_pair_figures
from benchmarks.protocols.searches import Searches, fnir_fpir_curve, open_set_row, rank_rate_of, search
from benchmarks.results.results import Curve, IdentificationRow, MeanAccuracy, OpenSetRow, Refusal, Results
from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix, FloatVector
from indexer.search.scores import canonical_scores

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (1e-1, 1e-2)
CMC_RANKS = 50
BLOCK = 2**13  # pairs at a time

Ints = NDArray[np.int64]
Flipped = Literal["absent", "added", "ignored"]

LEGACY = (
    "insightface-legacy: both galleries in one, threshold the ceil(FPIR x probes)-th largest of all impostor pairs,"
    " rank ignored; not the benchmark's 1:N"
)


@dataclass(frozen=True)
class Switches:
    """How faces become templates; published as N0D1F0 and the like.

    N `norm`: a face weighs as long as its raw feature is, instead of one. D `detection`: times its detector's score.
    F `flipped`: whether a row holds the features of the image and of its mirror image side by side, and whether the
    second is added to the first.
    """

    norm: bool = False
    detection: bool = True
    flipped: Flipped = "absent"

    def __str__(self) -> str:
        return f"N{self.norm:d}D{self.detection:d}F{self.flipped == 'added':d}"


def ijb(
    features: FeatureSet,
    meta: IjbMeta,
    name: str,
    switches: Switches = Switches(),
    norms: FloatVector | None = None,
    rule: Rule = "conservative",
    legacy: bool = False,
) -> Results:
    """Return TAR at FAR of the template pairs and, where the lists have them, 1:N rates in each gallery.

    `features` are those of the faces, known by their images' file names; `norms` float32 [N] the raw features' lengths,
    which the switch N takes. `rule` is for 1:1 (insightface: nearest; opensphere: interp). A template none of whose
    faces has a feature is never accepted. Raises ProtocolError as `rows_of_photos`, for a switch whose numbers are
    missing, and for lists that leave a rate without trials.
    """
    rows = rows_of_photos(features, [PurePath(image).stem for image in meta.images])
    templates, vectors = template_features(features.features, rows, meta, switches, norms)
    empty = int(np.isnan(vectors[:, 0]).sum())
    lost = int((rows < 0).sum())
    weightless = int((meta.detection == 0).sum()) if switches.detection and meta.detection is not None else 0
    results = Results(
        protocol="ijb",
        name=name,
        conventions={
            "1:1": f"threshold rule: {rule}",
            "set": meta.name,
            "template": f"{switches}: mean in each medium, sum over media, unit length",
            "identities": "of templates that mated pairs link; the others count as one each",
        },
        notes=(*features.notes, *_missing_notes(lost, weightless, empty)),
    )
    results = add_pair_figures(results, _scored(templates, vectors, meta), FARS, rule)
    if meta.probes is None:
        return replace(results, notes=(*results.notes, "no lists for 1:N"))
    if legacy:
        return _legacy(results, templates, vectors, meta.galleries, meta.probes)
    return _one_to_many(results, templates, vectors, meta.galleries, meta.probes)


def template_features(
    features: FloatMatrix, rows: Ints, meta: IjbMeta, switches: Switches, norms: FloatVector | None = None
) -> tuple[Ints, FloatMatrix]:
    """Return the templates' numbers int64 [T], rising, and their features [T, D] float32 of unit length.

    A face's feature is brought to unit length (N0) or to its raw one, times its detector's score (D1); the template is
    the sum over its media of the mean in each medium. `rows` [F] is each face's row, -1 for none; a template without
    any is NaN.
    """
    present = rows >= 0
    faces = features[rows[present]].astype(np.float64)
    if switches.norm:
        if norms is None:
            raise ProtocolError("switch N weighs faces by their raw features' lengths, which are not given")
        faces *= norms[rows[present], None]
    if switches.flipped != "absent":
        if faces.shape[1] % 2:
            raise ProtocolError(f"features of {faces.shape[1]} numbers are not those of an image and its mirror image")
        original, mirrored = np.split(faces, 2, axis=1)
        faces = original + mirrored if switches.flipped == "added" else original
    if not switches.norm:
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    if switches.detection:
        if meta.detection is None:
            raise ProtocolError("switch D weighs faces by their detector's scores, whose list is not there")
        faces *= meta.detection[present, None]
    keys, medium = np.unique(np.stack([meta.template[present], meta.media[present]]), axis=1, return_inverse=True)
    means = _summed(faces, medium.ravel(), keys.shape[1]) / np.bincount(medium.ravel())[:, None]
    templates = np.unique(meta.template)
    at = np.searchsorted(templates, keys[0])
    vectors = _summed(means, at, len(templates))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=lengths > 0)
    return templates, vectors.astype(np.float32)


def _missing_notes(lost: int, weightless: int, empty: int) -> Iterator[str]:
    """Say how many faces make no template, and how many templates are left without any."""
    if lost:
        yield f"{lost} faces have no feature, {empty} templates none at all"
    if weightless:
        yield f"{weightless} faces weigh nothing, by a detector's score of 0; {empty} templates have none that counts"


def _summed(rows: NDArray[np.float64], group: Ints, groups: int) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    member = csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=(groups, len(group)))
    summed: NDArray[np.float64] = np.asarray(member @ rows)
    return summed


def _scored(templates: Ints, vectors: FloatMatrix, meta: IjbMeta) -> ScoredPairs:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.searchsorted(templates, meta.first), np.searchsorted(templates, meta.second)
    scores = np.concatenate(
        [
            canonical_scores(vectors[first[at : at + BLOCK]], vectors[second[at : at + BLOCK]])
            for at in range(0, len(first), BLOCK)
        ]
    )
    links = coo_array(
        (np.ones(int(meta.same.sum())), (first[meta.same], second[meta.same])), shape=(len(templates),) * 2
    )
    person = connected_components(links, directed=False)[1].astype(np.int64)
    names = templates.astype(f"U{len(str(templates[-1]))}")  # no longer: a pair each of 15.6 million holds two
    return ScoredPairs(
        np.nan_to_num(scores, nan=-np.inf), meta.same, (names[first], names[second]), (person[first], person[second])
    )


def _one_to_many(
    results: Results, templates: Ints, vectors: FloatMatrix, galleries: dict[str, Subjects], probes: Subjects
) -> Results:
    rank_rows, open_rows, refusals, ranks, open_set = [], [], [], [], []
    for number, (gallery, enrolled) in enumerate(galleries.items(), start=1):
        found = _searched(templates, vectors, enrolled, probes)
        rank_rows.append(_rank_row(found, number))
        ranks.append(Curve(f"{results.name}, {gallery}", np.arange(1.0, CMC_RANKS + 1), cmc(found.ranks, CMC_RANKS)))
        open_set.append(fnir_fpir_curve(found, f"{results.name}, {gallery}"))
        for fpir in FPIRS:
            try:
                open_rows.append(open_set_row(found, fpir, number))
            except UnsupportedRate as error:
                refusals.append(Refusal(f"FNIR at FPIR {fpir:g} in {gallery}", error.needed, error.trials))
    return replace(
        results,
        conventions=results.conventions | {"1:N": "each gallery on its own, figures averaged over both"},
        identification=tuple(rank_rows),
        open_set=tuple(open_rows),
        accuracy=_averages(rank_rows, open_rows),
        refusals=results.refusals + tuple(refusals),
        curves=replace(results.curves, cmc=tuple(ranks), fnir_fpir=tuple(open_set)),
    )


def _searched(templates: Ints, vectors: FloatMatrix, enrolled: Subjects, probes: Subjects) -> Searches:
    subjects, first = np.unique(enrolled.subject, return_index=True)
    if len(subjects) < len(enrolled.subject):
        raise ProtocolError("a subject has two templates in one gallery; IJB's galleries have one each")
    mated = np.isin(probes.subject, subjects)
    if mated.all() or not mated.any():
        raise ProtocolError(
            f"{int(mated.sum())} of the {len(mated)} probes' subjects are enrolled in a gallery; 1:N takes mated and"
            " non-mated searches of each"
        )
    return search(
        vectors[_at(templates, enrolled.template[first])],
        subjects,
        vectors[_at(templates, probes.template)],
        probes.subject,
    )


def _at(templates: Ints, wanted: Ints) -> Ints:
    at = np.minimum(np.searchsorted(templates, wanted), len(templates) - 1)
    if (templates[at] != wanted).any():
        raise ProtocolError(f"template {wanted[templates[at] != wanted][0]} of the 1:N lists has no face")
    return at


def _rank_row(found: Searches, number: int) -> IdentificationRow:
    return IdentificationRow(
        distractors=found.enrolled - 1,
        set=number,
        rank1=rank_rate_of(found),
        rank10=rank_rate_of(found, 10),
        ties=found.ties,
        traditional_rank1=None,
    )


def _averages(rank_rows: Sequence[IdentificationRow], open_rows: Sequence[OpenSetRow]) -> tuple[MeanAccuracy, ...]:
    figures = [("rank-1", [row.rank1.rate for row in rank_rows])]
    for fpir in FPIRS:
        both = [1 - row.fnir.rate for row in open_rows if row.fpir == fpir]
        if len(both) == len(rank_rows):
            figures.append((f"TPIR at FPIR {100 * fpir:g} %, rank 1", both))
    return tuple(
        MeanAccuracy(
            float(np.mean(rates)),
            float(np.std(rates, ddof=1) / len(rates) ** 0.5),
            tuple(rates),
            f"1:N {what}, mean of the two galleries",
        )
        for what, rates in figures
    )


def _legacy(
    results: Results, templates: Ints, vectors: FloatMatrix, galleries: dict[str, Subjects], probes: Subjects
) -> Results:
    """Return what insightface's ijb_1n.py and its copies print: strictly above the threshold, whatever the rank."""
    enrolled = [
        np.concatenate([getattr(one, field) for one in galleries.values()]) for field in ("template", "subject")
    ]
    gallery, searched = vectors[_at(templates, enrolled[0])], vectors[_at(templates, probes.template)]
    needed = [math.ceil(fpir * len(probes.template)) for fpir in FPIRS]
    mates: list[FloatVector] = []
    largest: list[float] = []
    for start in range(0, len(searched), 1024):
        block = slice(start, start + 1024)
        scores = (searched[block].astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
        scores[np.isnan(scores)] = -np.inf
        mate = probes.subject[block, None] == enrolled[1]
        if not mate.any(axis=1).all():
            raise ProtocolError("insightface-legacy expects each probe's subject in one of the galleries")
        mates.append(np.where(mate, scores, -np.inf).max(axis=1))
        others = scores[~mate]
        top = min(len(others), max(needed))
        largest = heapq.nlargest(max(needed), [*largest, *np.partition(others, len(others) - top)[-top:].tolist()])
    if len(largest) < max(needed):
        raise ProtocolError(f"{len(largest)} impostor pairs are too few: insightface-legacy takes {max(needed)}")
    mate_scores = np.concatenate(mates)
    accuracy = []
    for fpir, count in zip(FPIRS, needed, strict=True):
        accepted = float((mate_scores > np.float32(largest[count - 1])).mean())
        error = (accepted * (1 - accepted) / len(mate_scores)) ** 0.5
        accuracy.append(MeanAccuracy(accepted, error, (accepted,), f'"TPIR at FPIR {100 * fpir:g} %" by {LEGACY}'))
    return replace(
        results,
        protocol="ijb-insightface-legacy",
        conventions=results.conventions | {"1:N": LEGACY},
        accuracy=tuple(accuracy),
    )
