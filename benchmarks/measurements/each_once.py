"""A set of unnamed photos with each person once, by the judgement of another network than the one that is measured.

    python -m benchmarks.measurements.each_once FEATURES.npz --judge JUDGE.npz --pairs LFW-JUDGE.npz
        --known docs/results/lfw-known.txt -o ONCE.npz

JUDGE.npz holds the same photos by the judging network. Two photos show one person where the judge is as sure as RATE
pairs of different people make it: the similarity of that rate among LFW's people, one photo each, without those known
to be one person under two names. Whatever shows the person of an earlier photo that stays is left out; photos that are
only linked by way of others stay.
"""

import argparse
from pathlib import Path

import numpy as np

from faceid.feature_file import read_features, write_features
from faceid.feature_set import FeatureError, FeatureSet
from indexer.decision.decision import threshold_at
from indexer.records import FloatMatrix, ModelBinding

RATE = 1e-6
_BLOCK = 1024


def main() -> None:
    """Write the features of the photos that stay; print the judge's level and how many they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--known", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    features, judge = read_features(options.features), read_features(options.judge)
    if features.paths.tolist() != judge.paths.tolist():
        raise FeatureError(f"{features.source} and {judge.source} are not of the same photos")
    level = level_of(read_features(options.pairs), known_pairs(options.known))
    stays = np.array(once(np.asarray(judge.features), level))
    bound = features.model or ModelBinding("unknown", "0" * 64, features.features.shape[1])
    paths = features.paths[stays].tolist()
    write_features(options.output, np.asarray(features.features)[stays], paths, paths, bound)
    print(f"one person from a similarity of {level:.3f} on: {len(stays)} of {len(features)} photos stay")


def once(vectors: FloatMatrix, level: float) -> list[int]:
    """Return the rows of unit vectors [n, D] that are no nearer than `level` to an earlier row that stays."""
    stays: list[int] = []
    for row, scores in enumerate(vectors @ vectors.T):
        if not (scores[stays] >= level).any():
            stays.append(row)
    return stays


def level_of(pairs: FeatureSet, known: set[frozenset[str]], rate: float = RATE) -> float:
    """Return the similarity that this share of pairs of different people reach, of everybody's first photo."""
    names, first = np.unique(pairs.labels, return_index=True)
    vectors = np.asarray(pairs.features)[first]
    trials = len(names) * (len(names) - 1) // 2
    best: list[np.ndarray] = []
    for start in range(0, len(names), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        scores[np.arange(len(names)) <= np.arange(start, start + len(scores))[:, None]] = -1
        for row, column in zip(*np.nonzero(scores > np.quantile(scores, 0.999)), strict=True):
            if frozenset((str(names[start + row]), str(names[column]))) in known:
                scores[row, column] = -1
        best.append(np.sort(scores, axis=None)[-(int(rate * trials) + 2) :])
    return threshold_at(np.sort(np.concatenate(best))[::-1].astype(np.float32), trials, rate)


def known_pairs(path: Path) -> set[frozenset[str]]:
    """Read the people who are one under two names: lines `duplicate:NAME+NAME`."""
    lines = path.read_text(encoding="utf-8").split()
    return {frozenset(line.split(":", 1)[1].split("+")) for line in lines if line.startswith("duplicate:")}


if __name__ == "__main__":
    main()
