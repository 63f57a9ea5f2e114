"""What is said of any pairs: TAR at FAR with both intervals, what is refused, histograms, worst errors."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.metrics.bootstrap import MatedTrials, NonMatedTrials, accepted_intervals
from benchmarks.protocols import scored_pairs
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.scored_pairs import ScoredPairs, add_pair_figures
from benchmarks.results.results import Results

PEOPLE = 20
EMPTY = Results("pairs", "net", {})


def pairs() -> ScoredPairs:
    """All pairs of 60 photos of 20 people; one of them has no face."""
    random = np.random.default_rng(0)
    first, second = np.triu_indices(60, 1)
    people = np.arange(60) // 3
    same = people[first] == people[second]
    scores = np.where(same, random.normal(0.5, 0.2, len(first)), random.normal(0, 0.2, len(first))).clip(-1, 1)
    scores[(first == 7) | (second == 7)] = -np.inf
    names = np.array([f"{n}.jpg" for n in range(60)])
    return ScoredPairs(scores.astype(np.float32), same, (names[first], names[second]), (people[first], people[second]))


def test_the_clustered_interval_is_that_of_all_pairs_and_their_people() -> None:
    one = pairs()
    (row,) = add_pair_figures(EMPTY, one, [0.01]).verification
    other, (first, second) = ~one.same, one.identities or (np.zeros(0), np.zeros(0))
    expected = accepted_intervals(
        MatedTrials(one.scores[one.same], first[one.same]),
        NonMatedTrials(
            one.scores[other],
            first[other],
            second[other],
            1710,  # 60 * 59 / 2 pairs, less 3 for each of 20 people
            np.array([sum(first[other] == person) for person in range(PEOPLE)]),
            np.array([sum(second[other] == person) for person in range(PEOPLE)]),
        ),
        [0.01],
    )
    assert (row.tar.ci95_clustered,) == expected
    assert (row.impostor_trials, row.tar.trials) == (1710, 60)


def test_pairs_of_one_kind_alone_are_refused() -> None:
    one = pairs()
    for same, count in ((np.ones_like(one.same), 1770), (np.zeros_like(one.same), 0)):
        with pytest.raises(ProtocolError, match=f"pairs: {count} of the 1770 pairs are of one person"):
            add_pair_figures(EMPTY, replace(one, same=same), [0.01])


def test_another_rule_and_unknown_people_have_no_clustered_interval() -> None:
    one = pairs()
    nobody = ScoredPairs(one.scores, one.same, one.names, None)
    for results in (add_pair_figures(EMPTY, one, [0.01], "nearest"), add_pair_figures(EMPTY, nobody, [0.01])):
        assert results.verification[0].tar.ci95_clustered is None


def test_a_rate_with_too_many_false_accepts_to_resample_leaves_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = add_pair_figures(EMPTY, pairs(), [0.01])
    monkeypatch.setattr(scored_pairs, "BOOTSTRAPPED", 20)
    found = add_pair_figures(EMPTY, pairs(), [0.1, 0.01])
    assert found.verification[0].tar.ci95_clustered is None
    assert found.verification[1] == whole.verification[0]


def test_what_the_trials_cannot_support_is_refused_with_what_it_would_take() -> None:
    results = add_pair_figures(EMPTY, pairs(), [0.01, 1e-4])
    assert [row.far for row in results.verification] == [0.01]
    assert [(one.what, one.needed, one.trials) for one in results.refusals] == [("TAR at FAR 0.0001", 30_000, 1710)]


def test_a_pair_without_a_face_is_in_no_histogram_and_no_picture_but_in_the_counts() -> None:
    results = add_pair_figures(EMPTY, pairs(), [0.01])
    mated, non_mated = results.histograms
    assert (mated.counts.sum(), non_mated.counts.sum()) == (60 - 2, 1710 - 57)
    assert all(np.isfinite(error.similarity) for error in results.worst_errors)
    missed = [error.similarity for error in results.worst_errors if error.kind == "missed"]
    accepted = [error.similarity for error in results.worst_errors if error.kind == "false_accept"]
    assert missed == sorted(missed)
    assert accepted == sorted(accepted, reverse=True)
    assert accepted[0] == pairs().scores[~pairs().same].max()
    (curve,) = results.curves.roc
    assert curve.y.max() == pytest.approx(58 / 60)
