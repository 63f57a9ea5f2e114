"""The operating points of Trillion Pairs, on the trials of MegaFace's protocol."""

from pathlib import Path

import numpy as np

from benchmarks.protocols.trillion_pairs import trillion_pairs
from faceid.feature_set import FeatureSet, feature_set


def directions(random: np.random.Generator, labels: np.ndarray, centres: np.ndarray) -> FeatureSet:
    rows = centres + 0.2 * random.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return feature_set(rows.astype(np.float32), labels, np.arange(len(rows)).astype(str), Path("made-up.npz"))


def test_identification_at_one_in_a_thousand_and_what_verification_would_take() -> None:
    random = np.random.default_rng(0)
    centres = np.repeat(random.normal(size=(1500, 8)), 2, axis=0)
    probes = directions(random, np.repeat(np.arange(1500), 2).astype(str), centres)
    distractors = directions(random, np.full(50, ""), random.normal(size=(50, 8)))
    results = trillion_pairs(probes, distractors, "net")
    # 3,000 searches without a mate support FPIR 1e-3, three of them; 150,000 pairs do not support FAR 1e-9.
    (row,) = results.open_set
    assert (row.fpir, row.false_alarms, row.non_mated_searches, row.distractors) == (1e-3, 3, 3000, 50)
    best = (probes.features @ distractors.features.T).max(axis=1)
    threshold = np.sort(best)[-4]
    mates = (probes.features[0::2] * probes.features[1::2]).sum(axis=1).repeat(2)
    assert row.fnir.trials == 3000
    assert abs(row.fnir.hits - ((mates <= threshold) | (mates <= best)).sum()) <= 1  # float32 sums, here
    assert results.verification == ()
    assert [(refusal.needed, refusal.trials) for refusal in results.refusals] == [(3_000_000_000, 150_000)]
