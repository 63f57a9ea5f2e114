"""Planted faults are found, each as what it is, and nothing else is."""

import numpy as np
import pytest

from indexer.calibration.own_scores import own_scores
from indexer.hygiene.people import against_others, gather, without
from indexer.hygiene.review import Examples, review
from indexer.records import Embeddings
from tests.indexer.hygiene.faces import drawn_gallery, drawn_people, photos


def keys(found, kind):
    return {one.key for one in found.findings if one.kind == kind}


def moved(embeddings, rows, people):
    owners = embeddings.identity_ids.copy()
    owners[rows] = people
    return Embeddings(embeddings.template_ids, owners, embeddings.vectors)


def test_a_sound_gallery_gives_almost_no_findings():
    embeddings, _ = drawn_gallery([5] * 200)
    assert len(review(embeddings, Examples()).findings) <= 1


@pytest.mark.slow
def test_a_person_under_two_names_is_found_and_not_asked_again_once_rejected():
    embeddings, shows = drawn_gallery([6] * 200)
    second = np.flatnonzero(shows == 7)[:3]
    gallery = moved(embeddings, second, 900)
    assert keys(review(gallery, Examples()), "duplicate") == {"duplicate:8-900"}
    assert not keys(review(gallery, Examples(), rejected={"duplicate:8-900"}), "duplicate")


def test_photos_in_a_wrong_folder_are_found_with_whose_they_are():
    embeddings, _ = drawn_gallery([5] * 200)
    gallery = moved(embeddings, [0, 50, 501], [40, 80, 120])
    assert keys(review(gallery, Examples()), "mislabelled") == {
        "mislabelled:1-1",
        "mislabelled:51-11",
        "mislabelled:502-101",
    }


@pytest.mark.slow
def test_a_photo_of_somebody_who_is_not_enrolled_is_a_stranger():
    embeddings, _ = drawn_gallery([5] * 200 + [1] * 4)
    gallery = moved(embeddings, [1000, 1001, 1002, 1003], [3, 9, 70, 150])
    laws = own_scores(embeddings.vectors, embeddings.identity_ids.astype(str).tolist(), ["mean"])
    examples = Examples(own_scores=laws)
    assert keys(review(gallery, examples), "stranger") == {f"stranger:{one}" for one in (1001, 1002, 1003, 1004)}


def test_without_a_law_of_mated_scores_nobody_is_called_a_stranger():
    embeddings, _ = drawn_gallery([5] * 200)
    assert "faceid models calibrate" in review(embeddings, Examples()).refused["stranger"]


def test_of_two_photos_that_do_not_agree_nobody_knows_which_is_wrong():
    embeddings, _ = drawn_gallery([5] * 150 + [2] * 50 + [1] * 4)
    singles = np.flatnonzero(embeddings.identity_ids > 200)
    gallery = moved(embeddings, singles[:2], embeddings.identity_ids[singles[2:]])
    found = [one for one in review(gallery, Examples()).findings if one.kind == "disagree"]
    assert {one.identity_ids for one in found} == {(203,), (204,)}
    assert all(len(one.template_ids) == 2 for one in found)


def test_broken_crops_and_copies_are_found_by_examples():
    embeddings, _ = drawn_gallery([5] * 200)
    random = np.random.default_rng(5)
    void = np.zeros((1, 64))
    void[0, 0] = 1
    vectors = embeddings.vectors.copy()
    vectors[[10, 700]] = photos(np.repeat(void, 2, axis=0) * 4, random)
    vectors[21] = photos(vectors[20:21].astype(float) * 6, random)[0]
    gallery = Embeddings(embeddings.template_ids, embeddings.identity_ids, vectors)
    nothing = photos(np.repeat(void, 100, axis=0) * 4, random).reshape(10, 10, 64)
    same = random.normal(0.98, 0.01, 200).astype(np.float32)
    found = review(gallery, Examples(broken=nothing, same_photo=same))
    assert keys(found, "broken") == {"broken:11", "broken:701"}
    assert keys(found, "same_photo") == {"same_photo:21-22"}


def test_one_photo_a_person_says_what_it_cannot_tell():
    embeddings, _ = drawn_gallery([1] * 300)
    found = review(embeddings, Examples())
    assert found.findings == ()
    assert set(found.refused) == {"duplicate", "mislabelled", "stranger", "disagree", "broken"}
    assert "faceid models calibrate" in found.refused["duplicate"]


def test_with_the_law_of_the_model_people_of_one_photo_are_compared():
    embeddings, _ = drawn_gallery([2] * 300)
    single = Embeddings(
        embeddings.template_ids[::2].copy(), embeddings.identity_ids[::2].copy(), embeddings.vectors[::2].copy()
    )
    again = np.arange(1, 21, 2)  # the second photos of ten people, under names of their own
    gallery = Embeddings(
        np.append(single.template_ids, embeddings.template_ids[again]),
        np.append(single.identity_ids, 1000 + embeddings.identity_ids[again]),
        np.append(single.vectors, embeddings.vectors[again], 0),
    )
    mated = np.einsum("nd,nd->n", embeddings.vectors[::2], embeddings.vectors[1::2])
    found = keys(review(gallery, Examples(own_scores={("mean", 1): mated})), "duplicate")
    twice = {f"duplicate:{one}-{1000 + one}" for one in range(1, 11)}
    assert len(found & twice) >= 7
    assert len(found - twice) <= 1


@pytest.mark.parametrize("counts", [[], [1], [3], [1, 2]])
def test_tiny_galleries_are_refused_kind_by_kind(counts):
    embeddings, _ = (
        drawn_gallery(counts)
        if counts
        else (Embeddings(*(np.empty(0, np.int64),) * 2, np.empty((0, 64), np.float32)), None)
    )
    found = review(embeddings, Examples())
    assert found.findings == ()
    assert found.refused


@pytest.mark.parametrize("counts", [[60], [60] + [1] * 60], ids=str)
def test_photos_of_one_person_alone_are_refused_kind_by_kind(counts):
    """Nobody else has several: there is no other person's place to see a photo in."""
    embeddings, _ = drawn_gallery(counts)
    found = review(embeddings, Examples())
    assert not found.findings
    assert "there is one person" in found.refused["mislabelled"]
    assert "1 person" in found.refused["duplicate"]


def test_where_everything_looks_broken_the_other_kinds_are_looked_for():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    broken, mine = vectors[:48].reshape(6, 8, 64), vectors[48:168]
    found = review(Embeddings(np.arange(120), np.arange(120) // 2, mine), Examples(broken))
    assert "everything in this gallery looks like that" in found.refused["broken"]
    assert "stranger" in found.refused


def test_copies_of_one_vector_by_the_hundred_do_not_break_it():
    embeddings, _ = drawn_gallery([3] * 200)
    vectors = embeddings.vectors.copy()
    vectors[:300] = vectors[0]
    review(Embeddings(embeddings.template_ids, embeddings.identity_ids, vectors), Examples())


@pytest.mark.slow
def test_the_order_of_templates_does_not_matter():
    embeddings, _ = drawn_gallery([5] * 200)
    gallery = moved(embeddings, [0, 50, 501], [40, 80, 120])
    order = np.argsort(gallery.identity_ids % 7, kind="stable")
    mixed = Embeddings(gallery.template_ids[order], gallery.identity_ids[order], gallery.vectors[order])
    assert keys(review(mixed, Examples()), "mislabelled") == keys(review(gallery, Examples()), "mislabelled")


def test_a_template_is_scored_against_the_mean_of_the_others():
    people = drawn_people([3, 2, 1])
    rows, seats = np.array([0, 3, 5, 3]), np.array([0, 3, 5, 0])
    by_hand = []
    for row, others in ((0, [1, 2]), (3, [4]), (3, [1, 2])):
        mean = people.vectors[others].mean(axis=0)
        by_hand.append(mean @ people.vectors[row] / np.linalg.norm(mean))
    scores = against_others(people, rows, seats)
    np.testing.assert_allclose(scores[[0, 1, 3]], by_hand, atol=1e-6)
    assert np.isnan(scores[2])


def test_who_has_no_template_left_is_gone():
    people = without(drawn_people([2, 1, 2]), np.array([False, False, True, True, False]))
    assert people.identity_ids.tolist() == [1, 3]
    assert people.counts.tolist() == [2, 1]
    assert gather(drawn_gallery([1])[0]).sums.shape == (1, 64)
