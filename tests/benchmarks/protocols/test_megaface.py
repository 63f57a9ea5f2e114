"""MegaFace's protocol against its definition, written out over all scores, and against figures worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.distractors.distractor_pass import mated_pairs
from benchmarks.measurements.million import PHOTOS
from benchmarks.metrics.bootstrap import rate_interval
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.megaface import Noise, distractor_order, megaface
from faceid.feature_set import FeatureSet
from indexer.search.scores import canonical_scores


def features(rows, labels=None, name="features"):
    rows = np.asarray(rows, np.float64)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    labels = np.array([""] * len(rows) if labels is None else labels)
    return FeatureSet(rows, labels, np.array([f"{name}/{row}" for row in range(len(rows))]), "0" * 64, name)


def at_angles(degrees, labels=None, name="features"):
    radians = np.deg2rad(degrees)
    return features(np.stack([np.cos(radians), np.sin(radians)], axis=1), labels, name)


def people(seed, counts, dimension=24, spread=1.0):
    random = np.random.default_rng(seed)
    labels = np.repeat([f"person {number}" for number in range(len(counts))], counts)
    centres = np.repeat(random.standard_normal((len(counts), dimension)), counts, axis=0)
    return features(centres + spread * random.standard_normal(centres.shape), labels, "probes")


def strangers(seed, count, dimension=24):
    return features(np.random.default_rng(seed).standard_normal((count, dimension)), name="distractors")


def test_megafaces_own_photo_counts_give_its_denominators():
    identity = np.repeat(np.arange(len(PHOTOS)), PHOTOS)
    pairs = mated_pairs(np.tile(np.float32([[0.6, 0.8]]), (len(identity), 1)), identity)
    assert (len(PHOTOS), len(identity), min(PHOTOS), max(PHOTOS)) == (80, 3530, 27, 50)
    assert len(pairs.scores) == 153_634
    assert (pairs.probe < pairs.mate).sum() == 76_817


def test_a_case_worked_out_by_hand():
    # Two people of two photos: 10 degrees apart, and 30 apart. Distractors at 20 degrees from photo a1, then 5 from b2.
    probes = at_angles([0, 10, 100, 130], ["a", "a", "b", "b"], "probes")
    distractors = at_angles([-20, 135, 200], name="distractors")
    results = megaface(probes, distractors, [1, 2, 3], fars=[0.5], fpirs=[0.75])
    one, two, three = results.identification
    # Among distractor 1 alone all four searches find the mate; b2's own (30 degrees) is beaten by 135 (5 degrees).
    assert (one.rank1.hits, one.rank1.trials, one.ties) == (4, 4, 0)
    assert (two.rank1.hits, three.rank1.hits) == (3, 3)
    assert two.rank10.hits == 4
    # Gallery a1, b1 and the distractors, searched with a2 and b2.
    assert [row.traditional_rank1.hits for row in (one, two, three)] == [2, 1, 1]
    assert one.traditional_rank1.trials == 2
    # The 12 scores by angle: 5, 20, 30, 35, 70, 100, then 120 and more; a FAR of 0.5 allows 6 false accepts.
    (row,) = (row for row in results.verification if row.distractors == 3)
    assert (row.impostor_trials, row.false_accepts) == (12, 6)
    assert math.cos(math.radians(120)) < row.threshold < math.cos(math.radians(100))
    assert (row.tar.hits, row.tar.trials) == (2, 2)
    # Best distractor of each probe among all three: 20, 30, 35, 5 degrees; 3 false alarms allowed leaves out 35.
    (row,) = (row for row in results.open_set if row.distractors == 3)
    assert (row.false_alarms, row.non_mated_searches) == (3, 4)
    assert math.cos(math.radians(35)) < row.threshold < math.cos(math.radians(30))
    # Mates at 10, 10, 30, 30 degrees pass; b2's has rank 2.
    assert (row.fnir.hits, row.fnir.trials) == (1, 4)


def test_a_distractor_equal_to_the_mate_ranks_before_it_and_is_counted():
    probes = at_angles([0, 10, 180, 200], ["a", "a", "b", "b"])
    results = megaface(probes, at_angles([10, 280]), [2], fars=[], fpirs=[])
    assert results.identification[0].rank1.hits == 2  # b's; a1 ties, a2 loses to its own copy
    assert results.identification[0].ties == 1


@settings(deadline=None, max_examples=25)
@given(
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=6).filter(lambda counts: max(counts) > 1),
    seed=st.integers(0, 1000),
    sets=st.integers(1, 2),
)
def test_every_row_is_what_its_definition_says(counts, seed, sets):
    probes, distractors = people(seed, counts), strangers(seed + 1, 40)
    results = megaface(probes, distractors, [7, 40], sets, fars=[0.03, 0.2], fpirs=[0.5])
    pairs = [
        (p, g)
        for p in range(len(probes))
        for g in range(len(probes))
        if p != g and probes.labels[p] == probes.labels[g]
    ]
    mated = canonical_scores(probes.features[[p for p, _ in pairs]], probes.features[[g for _, g in pairs]])
    assert [(row.distractors, row.set) for row in results.identification] == [(7, 1), (40, 1), (7, 2)][: sets + 1]
    for row in results.identification:
        scores = all_scores(probes, distractors, row)
        hits = sum(score > scores[p].max() for (p, _), score in zip(pairs, mated, strict=True))
        assert (row.rank1.hits, row.rank1.trials) == (hits, len(pairs))
        within = sum((scores[p] >= score).sum() < 10 for (p, _), score in zip(pairs, mated, strict=True))
        assert row.rank10.hits == within
        first = {label: int(np.flatnonzero(probes.labels == label)[0]) for label in probes.labels.tolist()}
        searched = [p for p in range(len(probes)) if first[str(probes.labels[p])] != p]
        found = 0
        for p in searched:
            gallery = canonical_scores(probes.features[p], probes.features[list(first.values())])
            own = list(first).index(str(probes.labels[p]))
            found += gallery[own] > max([*np.delete(gallery, own), scores[p].max()])
        assert (row.traditional_rank1.hits, row.traditional_rank1.trials) == (found, len(searched))
    genuine = np.array([score for (p, g), score in zip(pairs, mated, strict=True) if p < g])
    for row in results.verification:
        scores = np.sort(all_scores(probes, distractors, row).ravel())[::-1]
        threshold = np.nextafter(scores[math.floor(row.far * len(scores))], np.float32(2))
        assert row.threshold == threshold
        assert (row.false_accepts, row.impostor_trials) == ((scores >= threshold).sum(), len(scores))
        assert (row.tar.hits, row.tar.trials) == ((genuine >= threshold).sum(), len(genuine))
    for row in results.open_set:
        scores = all_scores(probes, distractors, row)
        best = np.sort(scores.max(axis=1))[::-1]
        threshold = np.nextafter(best[math.floor(row.fpir * len(best))], np.float32(2))
        missed = sum(score <= scores[p].max() or score < threshold for (p, _), score in zip(pairs, mated, strict=True))
        assert (row.threshold, row.false_alarms) == (threshold, (best >= threshold).sum())
        assert (row.fnir.hits, row.fnir.trials) == (missed, len(pairs))
    curve = results.curves.cmc[-1]
    assert curve.y[0] == max(row.rank1.rate for row in results.identification if row.distractors == 40)
    assert (curve.x[-1], curve.y[-1]) == (41, 1.0)
    assert [int(one.counts.sum()) for one in results.histograms] == [len(genuine), len(probes) * 40]


def all_scores(probes, distractors, row):
    order = distractor_order(len(distractors), row.set)
    chosen = distractors.features if order is None else distractors.features[order]
    return canonical_scores(probes.features[:, None], chosen[None, : row.distractors])


def test_above_the_kept_scores_the_threshold_is_a_fixed_one_and_never_too_low(monkeypatch):
    monkeypatch.setattr("benchmarks.protocols.megaface.KEPT_AT_LEAST", 1)
    monkeypatch.setattr("benchmarks.protocols.megaface.EXACT_FAR", 1e-9)
    probes, distractors = people(1, [4] * 10), strangers(2, 300)
    results = megaface(probes, distractors, [300], fars=[0.3], fpirs=[])
    (row,) = results.verification
    scores = canonical_scores(probes.features[:, None], distractors.features[None]).ravel()
    assert (row.threshold * 32768).is_integer()
    assert row.false_accepts == (scores >= row.threshold).sum() <= 0.3 * len(scores)
    assert (scores >= row.threshold - 1 / 32768).sum() > 0.3 * len(scores)
    probe, mate = np.triu_indices(len(probes), 1)
    genuine = probes.labels[probe] == probes.labels[mate]
    passed = canonical_scores(probes.features[probe[genuine]], probes.features[mate[genuine]]) >= row.threshold
    assert row.tar.ci95_clustered == rate_interval(passed, probe[genuine] // 4)  # the threshold held
    assert row.tar.ci95_clustered is not None
    assert "fixed ones is held" in results.conventions["ci95_clustered"]


def test_rates_that_the_trials_cannot_support_are_refused_with_the_number_needed():
    results = megaface(people(1, [3, 3]), strangers(2, 10), [10], fars=[1e-6], fpirs=[0.003])
    assert not results.verification
    assert not results.open_set
    assert [(refusal.needed, refusal.trials) for refusal in results.refusals] == [(3_000_000, 60), (1000, 6)]
    assert results.refusals[0].what == "TAR at FAR 1e-06 among 10 distractors, set 1"


def test_intervals_over_identities_are_given_and_wider_than_the_naive_ones():
    results = megaface(people(3, [6] * 40, spread=0.8), strangers(4, 400), [400], fars=[1e-2], fpirs=[0.1])
    (ranks,) = results.identification
    rates = (ranks.rank1, ranks.rank10, ranks.traditional_rank1, results.verification[0].tar, results.open_set[0].fnir)
    for one in rates:
        low, high = one.ci95_clustered
        assert low <= one.rate <= high
        assert high - low > one.ci95[1] - one.ci95[0]


def test_a_traditional_search_is_the_trial_of_its_probes_identity():
    # The first of each person's three photos is enrolled; the odd people's others are strangers to it.
    random = np.random.default_rng(5)
    centres = np.repeat(random.standard_normal((20, 64)), 3, axis=0)
    odd = (np.arange(60) // 3 % 2 == 1) & (np.arange(60) % 3 > 0)
    centres[odd] = random.standard_normal((odd.sum(), 64))
    probes = features(centres + 0.01 * random.standard_normal(centres.shape), np.repeat(np.arange(20), 3).astype(str))
    (row,) = megaface(probes, strangers(6, 500, 64), [500], fars=[], fpirs=[]).identification
    searched = np.arange(60)[np.arange(60) % 3 > 0]
    person = np.unique(probes.labels, return_inverse=True)[1][searched]
    hits = searched // 3 % 2 == 0
    assert row.traditional_rank1.hits == hits.sum()
    assert row.traditional_rank1.ci95_clustered == rate_interval(hits, person)


class TestNoise:
    probes = at_angles([0, 10, 170, 90, 100], ["a", "a", "a", "b", "b"])  # 170 is not a
    distractors = at_angles([4, 200, 300])  # 4 is a

    def noise(self, mode):
        return Noise(mode, np.array([0, 0, 1, 0, 0], bool), np.array([1, 0, 0], bool))

    def rows(self, mode, sizes):
        noise = None if mode == "raw" else self.noise(mode)
        results = megaface(self.probes, self.distractors, sizes, noise=noise, fars=[0.9], fpirs=[])
        assert results.conventions["noise"] == mode
        return results

    def test_raw_counts_every_photo_as_labelled(self):
        (row,) = self.rows("raw", [3]).identification
        assert (row.rank1.hits, row.rank1.trials) == (2, 8)  # b's only: 4 degrees beats a's two, 200 the wrong one

    def test_dropping_takes_other_distractors_and_pairs(self):
        (row,) = self.rows("r-drop", [2]).identification
        assert (row.rank1.hits, row.rank1.trials) == (4, 4)
        with pytest.raises(ProtocolError, match="3 were asked for; there are 2"):
            self.rows("r-drop", [3])

    def test_compatible_replaces_the_probe_and_keeps_the_counts(self):
        results = self.rows("r-compatible", [3])
        (row,) = results.identification
        assert (row.rank1.hits, row.rank1.trials) == (8, 8)
        assert results.verification[0].impostor_trials == 15
        assert "1 probes and 1 distractors are on the noise lists" in results.notes[0]


def test_what_does_not_fit_is_refused_in_words():
    probes, distractors = people(1, [2, 2]), strangers(2, 5)
    with pytest.raises(ProtocolError, match="galleries of 6 were asked for; there are 5 distractors"):
        megaface(probes, distractors, [6])
    with pytest.raises(ProtocolError, match="of two networks"):
        megaface(probes, strangers(2, 5, dimension=3))
    with pytest.raises(ProtocolError, match="no identity has two photos"):
        megaface(people(1, [1, 1]), distractors)
    with pytest.raises(ProtocolError, match="a probe has no label"):
        megaface(strangers(1, 4), distractors)


def test_sizes_default_to_powers_of_ten_and_all():
    results = megaface(people(1, [2, 2]), strangers(2, 120), fars=[], fpirs=[])
    assert [row.distractors for row in results.identification] == [10, 100, 120]


def test_distractors_who_are_among_the_probes_are_said():
    probes, others = people(3, [3, 3]), strangers(4, 40)
    assert not any("distractors bear" in note for note in megaface(probes, others, [10]).notes)
    labels = np.where(np.arange(40) < 2, probes.labels[0], others.labels)
    (note,) = [one for one in megaface(probes, replace(others, labels=labels), [10]).notes if "distractors bear" in one]
    assert f"2 distractors bear the name of somebody among the probes, such as {probes.labels[0]}" in note


def test_a_photo_that_is_listed_twice_is_said():
    probes, others = people(3, [3, 3]), strangers(4, 40)
    paths = probes.paths.copy()
    paths[1] = paths[0]
    assert not any("more than once" in note for note in megaface(probes, others, [10]).notes)
    (note,) = [one for one in megaface(replace(probes, paths=paths), others, [10]).notes if "more than once" in one]
    assert "1 photos are listed more than once, such as probes/0" in note
