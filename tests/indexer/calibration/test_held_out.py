"""Known searches are answered without the template that is searched for, and the check counts on the other half."""

import numpy as np
import pytest

from indexer.calibration.held_out import held_out
from indexer.calibration.known_searches import (
    KnownSearches,
    both,
    enrolled_as_strangers,
    mated_searches,
    probability_of,
    stranger_searches,
)
from indexer.decision.match_probability import match_probability
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo, unit_vectors

PEOPLE = 120


@pytest.fixture(params=["max", "mean"])
def crowd(tmp_path, request):
    """120 people with three templates each, and ten with one."""
    random = np.random.default_rng(0)
    vectors = np.repeat(unit_vectors(PEOPLE, seed=3), 3, axis=0) + 0.12 * random.standard_normal((PEOPLE * 3, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with Gallery.create(tmp_path / "crowd", MODEL, request.param) as gallery:
        gallery.add([photo(f"p{i // 3}", str(i), vector=vector) for i, vector in enumerate(vectors)])
        gallery.add([photo(f"single{i}", f"s{i}") for i in range(10)])
        yield gallery


def without(crowd, template_id, folder):
    """The same gallery without one template, and that template's vector and person."""
    data = crowd.embeddings()
    row = int(np.flatnonzero(data.template_ids == template_id)[0])
    with Gallery.create(folder, MODEL, crowd.fusion) as rest:
        keep = [i for i in range(len(data.template_ids)) if i != row]
        rest.add([photo(f"{data.identity_ids[i]}", f"{i}", vector=data.vectors[i]) for i in keep])
        return rest.search(data.vectors[row : row + 1], 11)[0].candidates


def test_a_mated_search_is_that_of_a_gallery_without_the_template(crowd, tmp_path):
    found = mated_searches(crowd)
    assert len(found) == PEOPLE
    assert found.mated.all()
    data = crowd.embeddings()
    for place in (0, 57):
        first = data.template_ids[data.identity_ids == found.persons[place]][0]
        candidates = without(crowd, first, tmp_path / f"rest{place}")
        assert found.similarities[place] == pytest.approx(candidates[0].similarity, abs=1e-5)
        assert found.contexts[place] == pytest.approx(np.mean([one.similarity for one in candidates[1:]]), abs=1e-5)
        assert found.right[place] == (candidates[0].name == str(found.persons[place]))


def test_enrolled_people_as_strangers_never_meet_themselves(crowd):
    left_out = np.array([1, 2], np.int64)
    found = enrolled_as_strangers(crowd, left_out)
    assert len(found) == PEOPLE + 10 - 2
    assert not found.mated.any()
    assert not found.right.any()
    assert found.similarities.max() < mated_searches(crowd).similarities.mean()


def test_strangers_are_searched_as_the_gallery_searches(crowd):
    vectors = unit_vectors(30, seed=9)
    found = stranger_searches(crowd, vectors, np.arange(30))
    answers = crowd.search(vectors, 11)
    np.testing.assert_allclose(found.similarities, [answer.candidates[0].similarity for answer in answers])


def test_a_probability_tells_the_enrolled_from_strangers(crowd):
    law = probability_of(
        both(mated_searches(crowd), stranger_searches(crowd, unit_vectors(400, seed=9), np.arange(400)))
    )
    assert match_probability(law, 0.95, 0.5) > 0.8
    assert match_probability(law, 0.5, 0.5) < 0.2


def made_up(mated, strangers, seed=0):
    random = np.random.default_rng(seed)
    similarities = np.concatenate([random.normal(0.7, 0.1, mated), random.normal(0.35, 0.05, strangers)])
    kind = np.arange(mated + strangers) < mated
    return KnownSearches(similarities, np.full(len(kind), 0.2), kind, kind, np.arange(len(kind)))


def test_the_check_counts_on_people_who_did_not_set_the_threshold():
    searches = made_up(600, 4000)
    check = held_out(searches, 500, [0.1, 0.01, 1e-5])
    first, second, third = check.achieved
    assert (first.basis, second.basis, third.basis) == ("measured", "measured", "refused")
    assert first.searches == pytest.approx(2000, abs=150)  # about half of the strangers
    assert first.rate == pytest.approx(0.1, abs=0.03)
    assert first.alarms == round(first.rate * first.searches)
    assert first.ci95[0] < first.rate < first.ci95[1]
    assert second.threshold > first.threshold
    assert third.threshold is None
    assert check.brier < 0.02
    assert sum(one.searches for one in check.reliability) == 4600 - 2300
    for one in check.reliability:
        assert one.ci95[0] <= one.right <= one.ci95[1]


def test_photos_of_one_person_fall_into_one_half():
    # Each stranger 20 times: were photos dealt out, the check would see the very scores that set the threshold.
    base = made_up(0, 200)
    again = KnownSearches(*(np.repeat(getattr(base, name), 20) for name in base.__dataclass_fields__))
    check = held_out(again, 500, [0.1])
    assert check.achieved[0].searches == 2000
    assert check.achieved[0].alarms % 20 == 0


def test_without_people_of_several_templates_rates_are_checked_and_the_remark_says_why_nothing_else():
    check = held_out(made_up(0, 1000), 500, [0.1])
    assert check.achieved[0].basis == "measured"
    assert check.reliability == ()
    assert "0 mated" in check.remark
