"""A gallery with an index elsewhere: its answers are the gallery's own, whatever that engine does or says."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.outside import kept
from indexer.outside.outside import OutsideError
from indexer.search.fusion import fuse
from tests.indexer.made_up_people import OTHER_MODEL, photo, unit_vectors
from tests.indexer.outside.fake_engine import Server
from tests.indexer.outside.outside_contract import keeps_the_contract

pytestmark = pytest.mark.plain
ADDRESS = "milvus:http://engine:19530"


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(kept, "open_outside", server.open)
    return server


@pytest.fixture
def people(gallery, server):
    """A gallery of 120 people with two templates each, with an index elsewhere."""
    gallery.add([photo(f"person {n // 2}", f"photo {n}") for n in range(240)])
    gallery.add_outside_index(ADDRESS)
    return gallery


QUERIES = unit_vectors(7, seed=99)


def asked(gallery, queries=QUERIES, k=5, **how):
    return [
        (
            [(one.id, one.similarity) for one in result.candidates],
            result.exact_decision,
            result.exact_candidates,
        )
        for result in gallery.search(queries, k, **how)
    ]


def same_as_its_own(gallery, **how):
    """Search elsewhere and here; both answers."""
    gallery.use_index("auto")
    own = asked(gallery, **how)
    gallery.use_index(ADDRESS)
    return asked(gallery, **how) == own


def test_the_fake_keeps_the_contract(server):
    keeps_the_contract(server.open(ADDRESS, "uuid"))


def test_answers_are_those_of_the_gallerys_own_index_and_proved(people):
    for k in (1, 5, 120, 500):
        assert same_as_its_own(people, k=k)
        assert all(decision and candidates for _, decision, candidates in asked(people, k=k))
    assert same_as_its_own(people, threshold=0.9)


def test_an_engine_that_may_miss_some_serves_and_proves_nothing(people, server):
    people.add_outside_index(f"{ADDRESS}#hnsw")
    people.use_index("auto")
    own = asked(people)
    people.use_index(f"{ADDRESS}#hnsw")
    assert asked(people, fast=True) == [(found, False, False) for found, _, _ in own]


def test_what_changes_is_followed_when_the_gallery_is_flushed(people, server):
    ann = people.identities()[3].id
    people.add([photo("Zoe", "zoe 1"), photo("Zoe", "zoe 2")])
    people.remove(ann)
    people.merge(people.identities()[7].id, people.identities()[8].id)
    server.calls.clear()
    people.flush()
    assert server.noted.revision == people.revision
    assert len(server.vectors) == server.noted.rows
    assert "make" not in server.calls
    assert same_as_its_own(people)
    people.undo()
    people.restore(ann)
    people.flush()
    assert same_as_its_own(people)


def test_one_that_is_behind_still_answers_right_and_proved(people, server):
    old = server.noted
    people.add([photo("Zoe", "zoe", vector=QUERIES[0])])
    people.remove(people.identities()[3].id)
    assert server.noted == old
    people.use_index(ADDRESS)
    found = asked(people)
    assert found[0][0][0][1] == pytest.approx(1)
    assert same_as_its_own(people)
    assert all(decision and candidates for _, decision, candidates in found)


def test_nobody_who_is_gone_is_returned_though_the_engine_has_not_heard_of_it(people, server):
    people.use_index(ADDRESS)
    best = asked(people)[0][0][0][0]
    people.erase(best)
    server.vectors = dict(server.vectors)
    assert best not in [person for found, _, _ in asked(people) for person, _ in found]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("blind", "does not find vectors that it holds"),
        ("invents", "does not find vectors that it holds"),
        ("scores", "its scores are not those of the gallery's vectors"),
        ("twice", "it lists a face twice"),
    ],
)
def test_an_engine_that_lies_is_told_and_proves_nothing(people, server, caplog, fault, says):
    server.faults.add(fault)
    people.use_index(ADDRESS)
    found = asked(people)
    assert not any(decision or candidates for _, decision, candidates in found)
    assert says in caplog.text
    here = {one.id for one in people.identities()}
    assert {person for its, _, _ in found for person, _ in its} <= here
    people.use_index("auto")
    truth = dict(pair for its, _, _ in asked(people, k=120) for pair in its)
    assert truth  # and what was shown was scored here:
    own = {(n, person): score for n, (its, _, _) in enumerate(asked(people, k=120)) for person, score in its}
    assert all(own[n, person] >= score for n, (its, _, _) in enumerate(found) for person, score in its)


def test_one_that_invents_after_it_was_proved_is_told(people, server, caplog):
    people.use_index(ADDRESS)
    asked(people)
    server.faults.add("invents")
    assert not any(decision or candidates for _, decision, candidates in asked(people))
    assert "lists 1 faces that the gallery does not have" in caplog.text


def test_one_that_is_down_keeps_no_other_from_being_made_anew(gallery, monkeypatch):
    down, up = (ADDRESS, Server()), (f"{ADDRESS}#hnsw", Server())
    monkeypatch.setattr(kept, "open_outside", lambda address, *_: dict([down, up])[address].open(address, "uuid"))
    gallery.add([photo(f"person {n}", f"photo {n}") for n in range(9)])
    for address, _ in (down, up):
        gallery.add_outside_index(address)
    down[1].faults.add("down")
    up[1].vectors = {}
    with pytest.raises(OutsideError, match="it is down"):
        gallery.rebuild()
    assert len(up[1].vectors) == 9


def test_one_that_lists_fewer_than_it_holds_after_it_was_proved_is_told(people, server, caplog):
    people.use_index(ADDRESS)
    assert all(candidates for *_, candidates in asked(people, k=15))
    server.faults.add("blind")  # 120 of 240 are found, and 128 are asked for
    assert not any(decision or candidates for _, decision, candidates in asked(people, k=15))
    assert "it lists fewer faces than it holds" in caplog.text


def test_a_file_is_the_same_one_from_whatever_folder_the_gallery_is_opened(people, tmp_path, monkeypatch):
    """Else a second one is made where somebody is erased, who stays in the first."""
    for name in ("first", "second", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "first")
    people.add_outside_index("milvus:vectors.db#hnsw")
    people.add_outside_index("milvus:~/vectors.db")
    noted = [f"milvus:{tmp_path}/first/vectors.db#hnsw", f"milvus:{tmp_path}/home/vectors.db"]
    assert people.outside_indexes() == [ADDRESS, *noted]
    people.use_index("milvus:vectors.db#hnsw")
    monkeypatch.chdir(tmp_path / "second")
    people.use_index(noted[0])
    with pytest.raises(GalleryError, match=f"keeps no index at milvus:{tmp_path}/second/vectors.db"):
        people.use_index("milvus:vectors.db#hnsw")
    people.forget_outside_index(noted[0])


def test_one_that_lost_vectors_is_told_and_made_anew_by_the_next_writer(people, server, caplog):
    people.use_index(ADDRESS)
    for one in list(server.vectors)[:5]:
        del server.vectors[one]
    assert not any(decision or candidates for _, decision, candidates in asked(people))
    assert "holds 235 vectors, and 240 were acknowledged" in caplog.text
    people.flush()
    assert len(server.vectors) == 240
    assert same_as_its_own(people)


@pytest.mark.parametrize("loss", ["emptied", "foreign", "of another past"])
def test_one_that_holds_nothing_of_this_gallery_is_refused_until_it_is_made_anew(people, server, loss):
    if loss == "emptied":
        server.vectors, server.noted = {}, None
    elif loss == "foreign":
        server.noted = replace(server.noted, gallery="another")
    else:
        server.noted = replace(server.noted, trail=(server.noted.trail[0], 1))
    people.use_index(ADDRESS)
    with pytest.raises(OutsideError, match="holds nothing that fits this gallery"):
        asked(people)
    people.flush()
    assert same_as_its_own(people)


def test_one_that_is_down_is_told_and_nothing_stands_in_for_it(people, server):
    people.use_index(ADDRESS)
    server.faults.add("down")
    with pytest.raises(OutsideError, match="it is down"):
        asked(people)


def test_a_writer_goes_on_without_one_that_is_down_and_catches_up_later(people, server, caplog):
    server.faults.add("down")
    people.add([photo("Zoe", "zoe")])
    people.flush()
    assert "stays behind" in caplog.text
    server.faults.clear()
    people.flush()
    assert server.noted.revision == people.revision


def test_a_writer_that_dies_anywhere_leaves_what_the_next_one_repeats(people, server):
    people.add([photo("Zoe", f"zoe {n}") for n in range(3)])
    people.remove(people.identities()[3].id)
    people.use_index("auto")
    own = [found for found, _, _ in asked(people)]
    for call in range(1, 40):
        server.calls.clear()
        server.dies_at = call
        try:
            people._outside._bring_up(ADDRESS)
        except KeyboardInterrupt:
            server.dies_at = None
            people.use_index(ADDRESS)
            assert [found for found, _, _ in asked(people)] == own
            continue
        break
    server.dies_at = None
    assert call > 5
    assert server.noted.revision == people.revision


def test_erasing_reaches_it_and_is_verified_by_asking(people, server):
    gone = people.identities()[5].id
    templates = [one.id for one in people.templates_of(gone)]
    assert people.erase(gone) == "done"
    assert not set(templates) & set(server.vectors)
    assert server.scrubbed
    assert "held" in server.calls


@pytest.mark.parametrize("fault", ["down", "keeps"])
def test_an_erasure_that_does_not_reach_it_is_pending_until_it_does(people, server, caplog, tmp_path, fault):
    gone = people.identities()[5].id
    templates = {one.id for one in people.templates_of(gone)}
    server.faults.add(fault)
    assert people.erase(gone) == "pending"
    assert "may still be there" in caplog.text
    assert templates <= set(server.vectors)
    people.close()
    server.faults.clear()
    Gallery.open(people.path, writable=True).close()
    assert not templates & set(server.vectors)


def test_another_model_leaves_nothing_of_the_old_one_there(people, server):
    ids = [one.id for one in people.templates()]
    people.add_embeddings(OTHER_MODEL, ids, unit_vectors(len(ids), OTHER_MODEL.dimension, seed=4))
    people.switch_model(OTHER_MODEL)
    people.flush()
    assert {len(vector) for vector in server.vectors.values()} == {OTHER_MODEL.dimension}
    people.use_index(ADDRESS)
    assert asked(people, unit_vectors(2, OTHER_MODEL.dimension))[0][1:] == (True, True)


def test_forgetting_it_takes_everything_away(people, server):
    people.forget_outside_index(ADDRESS)
    assert not server.vectors
    assert people.outside_indexes() == []
    with pytest.raises(GalleryError, match=f"faceid gallery set index {ADDRESS}"):
        people.use_index(ADDRESS)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_after_any_changes_it_holds_the_rows_that_the_gallery_searches(gallery, server, fusion):
    gallery.set_fusion(fusion)
    gallery.add([photo(f"person {n // 3}", f"photo {n}") for n in range(90)])
    gallery.add_outside_index(ADDRESS)
    rng = np.random.default_rng(5)

    def somebody():
        return int(rng.choice([one.id for one in gallery.identities()]))

    def merge():
        one, other = somebody(), somebody()
        if one != other:
            gallery.merge(one, other)

    def move():
        its = gallery.templates_of(somebody())
        gallery.move_templates([its[0].id], somebody())

    def undo():
        if gallery.undoable():
            gallery.undo()

    changes = [
        merge,
        move,
        undo,
        undo,
        lambda: gallery.remove(somebody()),
        lambda: gallery.remove_templates([gallery.templates_of(somebody())[0].id]),
        lambda: gallery.erase(somebody()),
        lambda: gallery.add([photo(f"person {rng.integers(40)}", f"new {rng.integers(1000)}")], restore=True),
        lambda: gallery.restore(gallery.identities(include_removed=True)[0].id),
    ]
    for step in range(60):
        with suppress(GalleryError, IndexError):
            changes[rng.integers(len(changes))]()
        if step % 3 == 0:
            server.calls.clear()
            gallery.flush()
            embeddings = gallery.embeddings()
            part = fuse(embeddings, fusion)
            assert sorted(server.vectors) == part.segment.ids.tolist()
            held = np.array([server.vectors[one] for one in part.segment.ids.tolist()])
            assert np.array_equal(held, part.segment.vectors[:])
            assert "make" not in server.calls, "it was followed, not made anew"
        if step % 5 == 0:
            assert same_as_its_own(gallery)
            assert all(decision and candidates for _, decision, candidates in asked(gallery))


def test_an_empty_gallery_has_an_empty_index(gallery, server):
    gallery.add_outside_index(ADDRESS)
    gallery.use_index(ADDRESS)
    assert same_as_its_own(gallery)
