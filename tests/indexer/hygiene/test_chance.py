"""Likeness by chance against likeness of one person, where the answer is known."""

import numpy as np
import pytest

from indexer.hygiene.chance import not_by_chance


def searches(random, twice):
    """Return scores of 4,000 searches, whose usual score rises with the crowd, and which are of one person."""
    crowd = random.uniform(0.2, 0.5, 4000)
    same = random.random(4000) < twice
    by_chance = crowd + 0.05 + 0.02 * random.gumbel(size=4000)
    return np.column_stack([np.where(same, random.normal(0.75, 0.08, 4000), by_chance), crowd]), same


@pytest.mark.parametrize("twice", [0.002, 0.02, 0.06])
def test_people_enrolled_twice_do_not_make_strangers_look_alike(twice):
    random = np.random.default_rng(4)
    rows, same = searches(random, twice)
    examples = np.column_stack([random.normal(0.75, 0.08, 500), random.uniform(0.2, 0.5, 500)])
    found = not_by_chance(rows, examples) > 0.5
    assert found[same].mean() > 0.8
    assert (found & ~same).sum() <= 1 + 0.03 * same.sum()


def test_the_probabilities_add_up_to_how_many_are_there_twice():
    random = np.random.default_rng(5)
    rows, same = searches(random, 0.05)
    examples = np.column_stack([random.normal(0.75, 0.08, 2000), random.uniform(0.2, 0.5, 2000)])
    assert not_by_chance(rows, examples).sum() == pytest.approx(same.sum(), rel=0.1)


def test_the_same_score_everywhere_is_chance():
    rows = np.column_stack([np.full(200, 0.4), np.linspace(0.2, 0.3, 200)])
    assert not not_by_chance(rows, np.column_stack([np.linspace(0.5, 0.9, 60), np.full(60, 0.25)])).any()
