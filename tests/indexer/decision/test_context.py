"""Deciding on context: what a shortlist proves of it is what everybody's similarities say."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from indexer.decision.context import (
    LISTED,
    WEIGHT,
    context_proved,
    decision_score,
    decision_scores,
    on_context,
    people_needed,
)
from indexer.decision.match_probability import CONTEXT

SIMILARITY = st.floats(-1, 1, width=32)


def best_first(values):
    return -np.sort(-np.array([values], np.float32), axis=1)


def test_the_next_ten_count_against_the_best_by_half():
    similarities = best_first([0.6] + [0.2] * CONTEXT + [0.1] * 40)
    assert on_context(similarities)[0] == pytest.approx(0.6 - WEIGHT * 0.2)
    assert decision_scores(similarities, "similarity")[0] == np.float32(0.6)
    assert decision_score([0.6, 0.3], "context") == pytest.approx(0.45), "fewer others are all there are"
    assert decision_score([0.6], "context") == pytest.approx(0.6)
    assert (people_needed("similarity"), people_needed("context")) == (1, LISTED)


@given(values=st.lists(SIMILARITY, min_size=2, max_size=40))
def test_whoever_has_the_highest_similarity_has_the_highest_adjusted_one(values):
    similarities = best_first(values)[0].astype(np.float64)
    adjusted = []
    for one, similarity in enumerate(similarities):
        rivals = np.delete(similarities, one)[:CONTEXT]
        adjusted.append(similarity - WEIGHT * rivals.mean())
    assert max(adjusted) == pytest.approx(adjusted[0], abs=1e-6)


@given(
    everybody=st.lists(SIMILARITY, min_size=LISTED, max_size=40),
    data=st.data(),
    threshold=st.floats(-1.5, 1.5),
)
def test_what_is_proved_of_a_sampled_list_is_what_everybody_says(everybody, data, threshold):
    # Some people were not seen, or only by a poorer template; `unseen` bounds what was not.
    everybody = np.array(everybody, np.float32)
    unseen = data.draw(st.one_of(st.sampled_from(everybody.tolist()), SIMILARITY))
    can_miss = everybody <= np.float32(unseen)
    missed = can_miss & np.array(data.draw(st.lists(st.booleans(), min_size=len(everybody), max_size=len(everybody))))
    seen = everybody.copy()
    seen[missed] = -1.5
    assume((~missed).sum() >= LISTED)
    listed = best_first(seen[~missed])[:, :LISTED]
    bound = np.array([unseen], np.float32)
    truth = on_context(best_first(everybody))[0]
    said = on_context(listed)[0]
    if context_proved(listed, bound, threshold)[0]:
        assert (truth >= threshold) == (said >= threshold)
        if said >= threshold:
            assert everybody.argmax() == seen.argmax(), "and it is the same person"
    if context_proved(listed, bound, None)[0]:
        assert truth == said


def test_a_list_that_nothing_can_be_added_to_is_proved_whatever_the_threshold():
    similarities = best_first([0.5, 0.4, 0.3])
    nothing = np.array([-2], np.float32)
    for threshold in (None, -1.0, 0.325, 0.5, 2.0):
        assert context_proved(similarities, nothing, threshold)[0]


def test_a_rival_who_may_be_unseen_leaves_it_open():
    similarities = best_first([0.5] + [0.1] * CONTEXT)
    bound = np.array([0.45], np.float32)
    assert not context_proved(similarities, bound, 0.44)[0], "ten unseen rivals at 0.45 would make it 0.275"
    assert context_proved(similarities, bound, 0.2)[0]
    assert context_proved(similarities, bound, 0.46)[0]
    assert not context_proved(similarities, np.array([0.5], np.float32), 0.1)[0], "somebody unseen may be as near"
