"""A gallery inside another program: used from many threads beside a writer, flushed, forked, with errors of its own."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from indexer import gallery as gallery_module
from indexer.cache import index_cache
from indexer.errors import FaceIdError, GalleryBusy, GalleryError
from indexer.gallery import Gallery
from indexer.store import database
from tests.indexer.cache_files import manifest_of
from tests.indexer.made_up_people import MODEL, photo, unit_vectors

PEOPLE = [photo(f"p{i}", str(i)) for i in range(60)]


@pytest.fixture(params=["mean"])
def path(tmp_path, request):
    with Gallery.create(tmp_path / "g", MODEL, request.param) as gallery:
        gallery.add(PEOPLE)
    return tmp_path / "g"


def in_threads(count, work):
    """Run `work(number)` in that many threads; what they raised."""
    raised = []

    def guarded(number):
        try:
            work(number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_long_searches_hold_no_connection_and_a_writer_goes_on_beside_them(path, monkeypatch):
    # More searches at once than connections, each held up until the writer beside them has written.
    searching, written = threading.Barrier(2 * database.READERS + 1), threading.Event()
    real = gallery_module.search

    def held_up(*arguments, **options):
        searching.wait(60)
        written.wait(60)
        return real(*arguments, **options)

    monkeypatch.setattr(gallery_module, "search", held_up)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 1.0)
    answers = []
    with Gallery.open(path, writable=True) as gallery, ThreadPoolExecutor(2 * database.READERS) as pool:
        searched = gallery.revision
        asked = [pool.submit(gallery.search, PEOPLE[3].vector[None], 3) for _ in range(2 * database.READERS)]
        searching.wait(60)
        gallery.add([photo("late", "late")])
        assert gallery.revision == searched + 1
        written.set()
        answers = [one.result() for one in asked]
    assert {one[0].candidates[0].name for one in answers} == {"p3"}
    assert {one[0].revision for one in answers} == {searched}, "the revision that was searched, not that of the answer"


@pytest.mark.parametrize("path", ["max", "mean"], indirect=True)
def test_somebody_removed_while_a_search_ran_is_not_in_its_answer(path, monkeypatch):
    real, removed = gallery_module.search, []

    def beside_a_writer(*arguments, **options):
        found = real(*arguments, **options)
        if not removed:
            removed.append(4)
            with Gallery.open(path, writable=True) as writer:
                writer.remove(4)
        return found

    monkeypatch.setattr(gallery_module, "search", beside_a_writer)
    with Gallery.open(path) as reader:
        (answer,) = reader.search(PEOPLE[3].vector[None], 60)
        assert answer.revision == reader.revision
    assert "p3" not in {one.name for one in answer.candidates}
    assert len(answer.candidates) == 59


def test_a_search_beside_a_writer_that_never_rests_ends_all_the_same(path, monkeypatch):
    real = gallery_module.search
    with Gallery.open(path, writable=True) as gallery:
        gallery.remove(4)

        def beside(*arguments, **options):
            found = real(*arguments, **options)
            if not gallery._alone.locked():
                (gallery.restore if 4 not in found.ids else gallery.remove)(4)
            return found

        monkeypatch.setattr(gallery_module, "search", beside)
        (answer,) = gallery.search(PEOPLE[3].vector[None], 60)
    assert len(answer.candidates) in (59, 60)


def test_too_many_at_once_are_told_so_in_our_own_words(path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(database, "READERS", 2)
    with Gallery.open(path) as gallery:
        with (
            gallery._database.read(),
            gallery._database.read(),
            pytest.raises(GalleryBusy, match=r"waited 0\.2 seconds"),
        ):
            gallery.search(PEOPLE[3].vector[None], 1)
        assert gallery.search(PEOPLE[3].vector[None], 1)[0].candidates[0].name == "p3"


@pytest.mark.slow
def test_forty_threads_share_a_gallery_with_a_writer_that_rebuilds_and_erases(path):
    until = time.monotonic() + 4
    wrong = []
    with Gallery.open(path, writable=True) as gallery:

        def work(number):
            rounds = 0
            while time.monotonic() < until:
                rounds += 1
                if number == 0:
                    (added,) = gallery.add([photo(f"guest {rounds}", f"guest {rounds}")])
                    gallery.remove(added.identity_id)
                    gallery.erase(added.identity_id)
                elif number == 1:
                    gallery.rebuild()
                elif number == 2:
                    gallery.flush()
                    gallery.stats()
                else:
                    (answer,) = gallery.search(PEOPLE[number].vector[None], 3)
                    if answer.candidates[0].name != f"p{number}":
                        wrong.append(answer)

        assert in_threads(40, work) == []
        assert wrong == []
        assert gallery.check(deep=True) == []


@pytest.mark.slow
def test_readers_of_their_own_go_on_while_a_writer_replaces_the_caches(path):
    until = time.monotonic() + 2
    with Gallery.open(path, writable=True) as writer:

        def work(number):
            while time.monotonic() < until:
                if number == 0:
                    writer.add([photo(f"n{time.monotonic_ns()}", f"{time.monotonic_ns()}")])
                    writer.rebuild()
                else:
                    with Gallery.open(path) as reader:
                        assert reader.search(PEOPLE[number].vector[None], 1)[0].candidates[0].name == f"p{number}"

        assert in_threads(4, work) == []


def test_flush_writes_the_caches_while_the_writer_stays_open(path):
    with Gallery.open(path, writable=True) as gallery:
        before = manifest_of(path)
        gallery.add([photo("new", "new")])
        assert manifest_of(path) == before
        gallery.flush()
        assert manifest_of(path).revision == gallery.revision
        assert gallery._cache.in_memory == 0
    with Gallery.open(path) as reader, pytest.raises(GalleryError, match="opened for reading"):
        reader.flush()


@pytest.mark.parametrize("path", ["max"], indirect=True)
@pytest.mark.parametrize("searching", [False, True])
def test_neither_a_writer_nor_a_reader_that_stays_open_holds_all_that_was_enrolled(path, monkeypatch, searching):
    monkeypatch.setattr(index_cache, "IN_MEMORY", 40 * 64)
    monkeypatch.setattr(gallery_module, "IN_MEMORY", 40 * 64)
    held = {"writer": [], "reader": []}
    with Gallery.open(path, writable=True) as writer, Gallery.open(path) as reader:
        for batch in range(12):
            writer.add([photo(f"b{batch}", f"b{batch} {i}") for i in range(25)])
            if searching:
                writer.search(unit_vectors(1), 1)
            reader.search(unit_vectors(1), 1)
            held["writer"].append(writer._cache.in_memory)
            held["reader"].append(reader._cache.in_memory)
        assert reader.search(unit_vectors(3), 72) == writer.search(unit_vectors(3), 72)
    assert max(held["writer"]) <= 40 * 64
    assert max(held["reader"]) <= 65 * 64


def test_no_error_of_the_database_library_leaves_the_gallery(path):
    with Gallery.open(path, writable=True) as gallery:
        for nonsense in ("INSERT INTO identity (id) VALUES (NULL)", "SELECT no_such_column", "no SQL at all"):
            with pytest.raises(FaceIdError), gallery._database.write() as connection:
                connection.exec_driver_sql(nonsense)
        assert gallery.size == 60


def test_adding_leaves_the_garbage_collector_alone(path, monkeypatch):
    import gc

    def refuse():
        raise AssertionError("it is the host's")

    monkeypatch.setattr(gc, "disable", refuse)
    monkeypatch.setattr(gc, "enable", refuse)
    with Gallery.open(path, writable=True) as gallery:
        gallery.add([photo("new", "new")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_a_child_that_opens_the_gallery_anew_reads_and_the_parents_gallery_is_refused(path):
    code = """
import os, sys
from indexer.errors import ForkedProcess, GalleryLocked
from indexer.gallery import Gallery
from tests.indexer.made_up_people import photo
path, known = sys.argv[1], photo("p3", "3")
writer = Gallery.open(path, writable=True)
who = lambda gallery: gallery.search(known.vector[None], 1)[0].candidates[0].name
assert who(writer) == "p3"
def child():
    for act in (lambda: who(writer), lambda: writer.add([photo("x", "x")]), writer.flush, lambda: writer.size):
        try:
            act()
            return 1
        except ForkedProcess as error:
            assert "open it anew" in str(error)
    try:
        Gallery.open(path, writable=True)
        return 2
    except GalleryLocked:
        pass
    with Gallery.open(path) as mine:
        assert who(mine) == "p3"
    writer.close()
    del globals()["writer"]
    return 0
pid = os.fork()
if pid == 0:
    code = 9
    try:
        code = child()
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0
try:
    Gallery.open(path, writable=True)
    sys.exit("the child let go of the parent's lock")
except GalleryLocked:
    pass
writer.add([photo("y", "y")])
assert who(writer) == "p3"
writer.close()
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_inherits_no_connection(path):
    with Gallery.open(path, writable=True) as gallery:
        gallery.search(PEOPLE[3].vector[None], 1)
        gallery.remove(5)
        assert databases_open(path) > 0
        child = os.fork()
        if child == 0:
            os._exit(databases_open(path))
        assert os.waitpid(child, 0)[1] == 0
        assert gallery.search(PEOPLE[3].vector[None], 1)[0].candidates[0].name == "p3"


def databases_open(gallery):
    """How many descriptors of this gallery's database the process has; other tests of the process may hold theirs."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(link.readlink()).startswith(str(gallery / "gallery.db"))
    return count


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_search_in_a_child_is_answered_and_a_fast_one_fails_at_once_where_faiss_was_used_before():
    code = """
import os, sys, numpy as np
from indexer.errors import VectorError
from indexer.search.certified_search import Part, search
from indexer.search.shortlist import Segment
vectors = np.random.default_rng(0).standard_normal((40_000, 64)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
ids = np.arange(40_000)
parts = [Part(Segment(ids, vectors), ids)]
kinds = [("flat", False), ("int8", False), ("pq", True)]
ask = lambda kind, fast: search(parts, vectors[:70], 3, kind=kind, fast=fast).ids.tolist()
expected = [ask(*one) for one in kinds]
pid = os.fork()
if pid == 0:
    code = 9
    try:
        assert [ask(*one) for one in kinds[:2]] == expected[:2]
        try:
            ask(*kinds[2])
        except VectorError as error:
            assert "fork" in str(error)
            code = 0
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0
assert [ask(*one) for one in kinds] == expected
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_vectors_of_another_shape_are_refused_as_such(path):
    with Gallery.open(path) as gallery, pytest.raises(ValueError, match=r"\[n, 16\]"):
        gallery.search(np.zeros((1, 3), np.float32), 1)
