"""The scores of a cohort are those of searching it in the gallery as it is, however the gallery came to be so."""

import json
import os
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from indexer.cache import cohort_scores
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo, unit_vectors

COHORT = unit_vectors(50, seed=9)


@pytest.fixture(params=["max", "mean"])
def gallery(tmp_path, request):
    with Gallery.create(tmp_path / "gallery", MODEL, request.param) as gallery:
        yield gallery


def searched(gallery):
    return np.array([answer.candidates[0].similarity for answer in gallery.search(COHORT, 1)], np.float32)


def test_they_are_the_best_scores_of_searching(gallery):
    gallery.add([photo(f"p{i % 4}", str(i)) for i in range(9)])
    scores = gallery.ask_cohort(COHORT, "k")
    assert np.array_equal(scores.scores, searched(gallery))
    assert scores.people == 4
    assert [answer.candidates[0].id for answer in gallery.search(COHORT, 1)] == scores.owners.tolist()


def test_an_empty_gallery_gives_no_scores(gallery):
    assert len(gallery.ask_cohort(COHORT, "k").scores) == 0
    gallery.add([photo("p", "1")])
    assert np.array_equal(gallery.ask_cohort(COHORT, "k").scores, searched(gallery))


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "remove", "restore", "merge", "photo", "undo"]), st.integers(0, 7)),
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, fusion=st.sampled_from(["max", "mean"]))
def test_after_any_change_they_are_those_of_asking_everybody_anew(tmp_path_factory, steps, fusion):
    with Gallery.create(tmp_path_factory.mktemp("g") / "g", MODEL, fusion) as gallery:
        gallery.add([photo(f"p{i % 4}", str(i)) for i in range(6)])
        for number, (step, which) in enumerate(steps):
            people = gallery.identities(include_removed=True)
            person = people[which % len(people)]
            match step:
                case "add":
                    gallery.add([photo(f"p{which}", f"new {number}")])
                case "remove":
                    gallery.remove(person.id)
                case "restore" if person.removed:
                    gallery.restore(person.id)
                case "merge" if not person.removed and people[0].id != person.id and not people[0].removed:
                    gallery.merge(person.id, people[0].id)
                case "photo":
                    gallery.remove_templates([which % 6 + 1])
                case "undo" if gallery.undoable():
                    with suppress(GalleryError):  # something later about the same people comes first
                        gallery.undo()
            if gallery.size:
                assert np.array_equal(gallery.ask_cohort(COHORT, "k").scores, searched(gallery)), step


def test_new_templates_alone_are_searched_after_enrolling(gallery, monkeypatch):
    gallery.add([photo(f"p{i}", str(i)) for i in range(20)])
    gallery.ask_cohort(COHORT, "k")
    gallery.add([photo("new", "new")])
    asked = []
    search = cohort_scores._best
    monkeypatch.setattr(
        cohort_scores,
        "_best",
        lambda parts, vectors: asked.append((sum(map(len, parts)), len(vectors))) or search(parts, vectors),
    )
    gallery.ask_cohort(COHORT, "k")
    assert asked == [(1, 50)], "one row was searched, not all"


def test_no_transaction_is_open_while_the_cohort_is_searched(gallery, monkeypatch):
    """A reader that holds one keeps the write-ahead log from shrinking, and erased bytes in it."""
    gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    depth, open_then = [0], []
    read, search = gallery._database.read, cohort_scores._best

    @contextmanager
    def counted():
        depth[0] += 1
        try:
            with read() as connection:
                yield connection
        finally:
            depth[0] -= 1

    monkeypatch.setattr(gallery._database, "read", counted)
    monkeypatch.setattr(cohort_scores, "_best", lambda *asked: open_then.append(depth[0]) or search(*asked))
    gallery.ask_cohort(COHORT, "k")
    assert open_then == [0]


def test_what_happens_while_it_is_searched_is_not_missed_afterwards(gallery, monkeypatch):
    added = gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    search = cohort_scores._best

    def meanwhile(parts, vectors):
        monkeypatch.setattr(cohort_scores, "_best", search)
        gallery.remove(added[0].identity_id)
        gallery.add([photo("late", "late")])
        return search(parts, vectors)

    monkeypatch.setattr(cohort_scores, "_best", meanwhile)
    before = gallery.ask_cohort(COHORT, "k")
    assert before.people == 5, "the gallery as it was when the question came"
    assert np.array_equal(gallery.ask_cohort(COHORT, "k").scores, searched(gallery))


def test_a_writer_leaves_them_for_the_next_reader(gallery, monkeypatch):
    gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    expected = gallery.ask_cohort(COHORT, "k").scores
    with Gallery.open(gallery.path) as reader:
        monkeypatch.setattr(cohort_scores, "_best", None)
        assert np.array_equal(reader.ask_cohort(COHORT, "k").scores, expected)


def cache_of(gallery):
    (file,) = gallery.path.glob("cohort-*.safetensors")
    return file


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "link", "pipe", "other", "deep"])
def test_a_file_that_is_not_as_it_was_written_is_not_believed(gallery, damage, tmp_path):
    gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    expected = gallery.ask_cohort(COHORT, "k").scores
    file = cache_of(gallery)
    content = bytearray(file.read_bytes())
    file.unlink()
    match damage:
        case "bit":
            content[-500] ^= 4
            file.write_bytes(content)
        case "cut":
            file.write_bytes(content[:-3])
        case "empty":
            file.write_bytes(b"")
        case "link":
            (tmp_path / "elsewhere").write_bytes(content)
            file.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(file)
        case "other":
            file.write_bytes(content.replace(b'\\"cohort\\": \\"k\\"', b'\\"cohort\\": \\"x\\"'))
        case "deep":
            file.write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000)
    with Gallery.open(gallery.path) as reader:
        assert np.array_equal(reader.ask_cohort(COHORT, "k").scores, expected)


@pytest.mark.plain
@pytest.mark.parametrize(
    "changes",
    [
        {"trail": [10**30, 0]},
        {"trail": [1e999, 0]},
        {"revision": 10**30},
        {"revision": 1e999},
        {"people": -(10**30)},
        {"last_template": 10**30},
        {"last_template": "5"},
        {"scores": 5.0},
        {"scores": np.nan},
        {"scores": np.inf},
    ],
    ids=str,
)
def test_odd_numbers_with_a_right_checksum_are_not_believed(gallery, changes):
    gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    expected = gallery.ask_cohort(COHORT, "k").scores
    file = cache_of(gallery)
    with safe_open(file, framework="numpy") as opened:
        facts = json.loads(opened.metadata()["faceid"])
        arrays = {name: opened.get_tensor(name) for name in ("scores", "owners")}
    del facts["sha256"]
    if "scores" in changes:
        arrays["scores"] = np.full_like(arrays["scores"], changes["scores"])
    else:
        facts |= changes
    facts["sha256"] = cohort_scores._digest(facts, arrays["scores"], arrays["owners"])
    file.write_bytes(save(arrays, metadata={"faceid": json.dumps(facts)}))
    with Gallery.open(gallery.path) as reader:
        assert np.array_equal(reader.ask_cohort(COHORT, "k").scores, expected)


def test_another_cohort_has_its_own_scores(gallery):
    gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    first = gallery.ask_cohort(COHORT, "a" * 20).scores
    second = gallery.ask_cohort(COHORT[:20], "b" * 20).scores
    assert np.array_equal(first[:20], second)


def test_erasing_and_rebuilding_delete_them(gallery):
    added = gallery.add([photo(f"p{i}", str(i)) for i in range(5)])
    gallery.ask_cohort(COHORT, "k")
    gallery.erase(added[0].identity_id)
    assert not list(gallery.path.glob("cohort-*"))
    gallery.ask_cohort(COHORT, "k")
    gallery.rebuild()
    assert not list(gallery.path.glob("cohort-*"))
