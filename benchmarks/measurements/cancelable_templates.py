"""Turned vectors: whether they score as the plain ones, can be linked, and what known pairs give away.

    python -m benchmarks.measurements.cancelable_templates NAME LFW.npz [NAME LFW.npz ...] [-o FOLDER]

The gallery holds the first photo of everybody with two. Scores: all its pairs. Linkability: D_sys of first against
second photos, first and second turned by different keys (ten pairs of keys), and its floor, that of non-mated scores
alone. Known pairs: an attacker has k vectors as the model gave them, and knows which turned vector is each one's;
orthogonal Procrustes (Schonemann 1966) gives the rotation on their span, and with it the other turned vectors. `same
photo`: the pairs are of the very photo; `other photo`: of another one of the person. Accepted is a recovered vector
that reaches the other photo of its person at the plain threshold of FMR 1e-3. Without pairs: the two galleries are
aligned by how each vector lies to all others (profiles of similarities, then Procrustes and nearest neighbours in
turn; after Artetxe et al. 2018).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import write
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.metrics.unlinkability import linkability
from faceid.feature_set import FeatureSet
from indexer.crypto.cancelable import Turning
from indexer.records import FloatMatrix, FloatVector, Turn
from indexer.search.scores import canonical_scores

FMR = 1e-3
KEY_PAIRS = 10
NON_MATED = 100_000
SHARES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0, 1.25)  # known pairs, in units of D; the first is one pair
ROUNDS, QUANTILES, NEIGHBOURS = 80, 200, 10

Row = dict[str, Any]
Matrix = NDArray[np.float64]


def main() -> None:
    """Print the tables of each network, and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NAME LFW.npz")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    for name, path in zip(options.networks[::2], options.networks[1::2], strict=True):
        first, second, alone = photos_of(named(Path(path)))
        print(f"\n{name}: {len(first)} people, {first.shape[1]} numbers")
        print(tabulate([scores_moved(first)], headers="keys", tablefmt="github"))
        print(tabulate([linked(first, second)], headers="keys", tablefmt="github", floatfmt=".4f"))
        print(tabulate(list(without_pairs(first, second, alone)), headers="keys", tablefmt="github", floatfmt=".3f"))
        curve = list(with_pairs(first, second, alone))
        print(tabulate(curve, headers="keys", tablefmt="github", floatfmt=".3f"))
        if options.output:
            write(options.output / f"cancelable-{name}.csv", curve)


def photos_of(features: FeatureSet) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
    """Return the first and the second photos of everybody with two [n, D], and those of everybody with one."""
    people, places, counts = np.unique(features.labels, return_inverse=True, return_counts=True)
    order = np.argsort(places, kind="stable")
    begin = np.searchsorted(places[order], np.arange(len(people)))
    vectors, two = features.features, counts > 1
    return vectors[order[begin[two]]], vectors[order[begin[two] + 1]], vectors[order[begin[~two]]]


def turning(number: int) -> Turning:
    """Return a rotation of its own for each number."""
    return Turning(Turn("", b""), number.to_bytes(4, "big"))


def scores_moved(vectors: FloatMatrix) -> Row:
    """Return how far the scores of all pairs move by turning, and how far the vectors by turning there and back."""
    turned, most, moved = turning(0).turned(vectors), 0.0, 0
    for row in range(len(vectors)):
        difference = np.abs(canonical_scores(vectors[row], vectors[row:]) - canonical_scores(turned[row], turned[row:]))
        most, moved = max(most, float(difference.max())), moved + int((difference > 0).sum())
    pairs = len(vectors) * (len(vectors) + 1) // 2
    back = float(np.abs(turning(0).turned_back(turned) - vectors).max())
    return {"pairs": pairs, "largest difference": most, "share that differs": moved / pairs, "there and back": back}


def linked(first: FloatMatrix, second: FloatMatrix) -> Row:
    """Return D_sys of plain vectors, of those turned by one rotation, by different ones, and by chance alone."""
    random = np.random.default_rng(0)
    strangers = random.integers(0, len(first), (2, NON_MATED))
    strangers = strangers[:, strangers[0] != strangers[1]]

    def of(one: FloatMatrix, other: FloatMatrix) -> tuple[FloatVector, FloatVector]:
        return canonical_scores(one, other), canonical_scores(one[strangers[0]], other[strangers[1]])

    pairs = [of(turning(2 * n).turned(first), turning(2 * n + 1).turned(second)) for n in range(KEY_PAIRS)]
    mated, others = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    chance = random.permutation(others)
    return {
        "plain": linkability(*of(first, second)),
        "one key and salt": linkability(*of(turning(0).turned(first), turning(0).turned(second))),
        "different keys": linkability(mated, others),
        "chance alone": linkability(chance[: len(mated)], chance[len(mated) :]),
        "mated mean": float(mated.mean()),
        "mated deviation": float(mated.std()),
        "non-mated mean": float(others.mean()),
        "non-mated deviation": float(others.std()),
    }


def with_pairs(first: FloatMatrix, second: FloatMatrix, alone: FloatMatrix) -> Iterator[Row]:
    """Yield what k known pairs give away of the second half of the gallery, per k and kind of pair."""
    dimension, half = first.shape[1], len(first) // 2
    limit = threshold(first)
    secret, unknown = turning(0), first[half:]
    lying = secret.turned(unknown)
    for share in SHARES:
        pairs = max(1, round(share * dimension))
        row: Row = {"pairs": pairs, "pairs / D": pairs / dimension}
        for kind, known, its in (
            ("same photo", alone[:pairs], secret.turned(alone[:pairs])),
            ("other photo", second[:half][:pairs], secret.turned(first[:half][:pairs])),
        ):
            if len(known) == pairs:
                recovered = unit(lying.astype(np.float64) @ rotation_from(known, its, min(pairs, dimension)))
                row |= {f"{kind}: {what}": value for what, value in outcome(recovered, unknown, second[half:], limit)}
        yield row
    genuine = float((canonical_scores(unknown, second[half:]) >= limit).mean())
    yield {"pairs": "plain vectors", "same photo: accepted": genuine}


def without_pairs(first: FloatMatrix, second: FloatMatrix, alone: FloatMatrix) -> Iterator[Row]:
    """Yield what aligning a turned gallery to plain vectors gives away, without any known pair."""
    limit, secret = threshold(first), turning(0)
    lying = secret.turned(first)
    shuffled = np.random.default_rng(1).permutation(len(first))
    for what, known, whose in (
        ("the same photos", first[shuffled], shuffled),
        ("other photos of the same people", second[shuffled], shuffled),
        ("other people", alone[: len(first)], None),
    ):
        guessed, nearest = aligned(lying, known)
        found = dict(outcome(unit(lying.astype(np.float64) @ guessed), first, second, limit))
        hits = None if whose is None else float((whose[nearest] == np.arange(len(first))).mean())
        yield {"the attacker has": what, "linked to the right one": hits, **found}


def aligned(lying: FloatMatrix, known: FloatMatrix) -> tuple[Matrix, NDArray[np.int64]]:
    """Return a guess of the rotation [D, D] that turned `known` into `lying`, and the nearest known of each."""
    random, kept = np.random.default_rng(0), 0.1
    likeness = profiles(lying) @ profiles(known).T
    for round_ in range(ROUNDS):
        # Less what a vector is to everybody (CSLS, Conneau et al. 2018), and some of it left out at random at first.
        near = [np.sort(likeness, axis=axis) for axis in (1, 0)]
        crowded = near[0][:, -NEIGHBOURS:].mean(axis=1)[:, None] + near[1][-NEIGHBOURS:].mean(axis=0)
        score = np.where(random.random(likeness.shape) < kept, 2 * likeness - crowded, -np.inf)
        there, back = score.argmax(axis=1), score.argmax(axis=0)
        rows = np.concatenate([np.arange(len(lying)), back])
        columns = np.concatenate([there, np.arange(len(known))])
        guessed = rotation_from(known[columns], lying[rows], known.shape[1])
        likeness = (lying.astype(np.float64) @ guessed) @ known.T
        kept = min(1.0, 2 * kept) if round_ % 8 == 7 else kept
    return guessed, likeness.argmax(axis=1)


def profiles(vectors: FloatMatrix) -> Matrix:
    """Return what each vector's similarities to all others look like, whatever the rotation: unit rows."""
    sorted_ = np.sort(vectors @ vectors.T, axis=1)
    even = np.linspace(0, len(vectors) - 1, QUANTILES).astype(int)
    best = len(vectors) - 1 - np.unique(np.geomspace(1, len(vectors) - 1, QUANTILES).astype(int))
    found = np.concatenate([sorted_[:, even], sorted_[:, best]], axis=1).astype(np.float64)
    return unit((found - found.mean(axis=0)) / (found.std(axis=0) + 1e-9))


def rotation_from(known: FloatMatrix, lying: FloatMatrix, rank: int) -> Matrix:
    """Return M [D, D] for which lying M is nearest to known: a rotation on the span of the pairs, 0 off it."""
    left, _, right = np.linalg.svd(lying.astype(np.float64).T @ known)
    found: Matrix = left[:, :rank] @ right[:rank]
    return found


def outcome(
    recovered: Matrix, truth: FloatMatrix, other_photo: FloatMatrix, limit: float
) -> Iterator[tuple[str, float]]:
    """Yield the mean cosine of recovered vectors to the truth, and the share that opens for the person."""
    yield "cosine", float(canonical_scores(recovered.astype(np.float32), truth).mean())
    yield "accepted", float((canonical_scores(recovered.astype(np.float32), other_photo) >= limit).mean())


def threshold(first: FloatMatrix) -> float:
    """Return the plain threshold of FMR over all pairs of different people."""
    scores = (first @ first.T)[np.triu_indices(len(first), 1)]
    return float(np.quantile(scores, 1 - FMR))


def unit(vectors: Matrix) -> Matrix:
    """Return the directions of vectors [n, D]; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Matrix = vectors / np.where(lengths > 0, lengths, 1)
    return directions


if __name__ == "__main__":
    main()
