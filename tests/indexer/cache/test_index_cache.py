"""The caches are believed only where every byte fits; whatever befalls them, searches answer the same."""

import errno
import json
import os

import numpy as np
import pytest

from indexer.cache import index_cache
from indexer.errors import FileNotWritten
from indexer.gallery import Gallery
from indexer.search import codes
from indexer.store import queries as store
from tests.indexer.cache_files import arrays_of, manifest_of
from tests.indexer.made_up_people import MODEL, photo, unit_vectors
from tests.indexer.raw_database import raw_database

PEOPLE = [photo(f"p{i}", str(i)) for i in range(40)]


@pytest.fixture(params=["plain", "coded", "means"])
def closed(tmp_path, request, monkeypatch):
    """A gallery with its caches, closed; with 8-bit codes in them as in a large one, or without; or of means."""
    if request.param == "coded":
        monkeypatch.setattr(codes, "CODED_FROM", 8)
    path = tmp_path / "g"
    with Gallery.create(path, MODEL, "mean" if request.param == "means" else "max") as gallery:
        gallery.add(PEOPLE)
    return path


def answer(path):
    with Gallery.open(path) as reader:
        return reader.search(unit_vectors(4), 5)


def kinds(path):
    with Gallery.open(path) as reader:
        return [problem.kind for problem in reader.check(deep=True)]


def segments(path):
    return [one.file for one in manifest_of(path).segments]


def caches(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name.startswith("index")}


def test_closing_leaves_segments_that_any_safetensors_reader_understands(closed):
    assert kinds(closed) == []
    (name,) = segments(closed)
    tensors = arrays_of(closed / name)
    assert tensors["ids"].tolist() == list(range(1, 41))
    assert np.allclose(tensors["vectors"], np.stack([one.vector for one in PEOPLE]), atol=1e-7)
    if "codes" in tensors:
        made_anew = codes.encode(tensors["vectors"])
        assert np.array_equal(tensors["codes"], made_anew.codes)
        assert np.array_equal(tensors["residuals"], made_anew.residuals)
    for whose in arrays_of(closed / manifest_of(closed).owners.file).values():
        assert whose.tolist() == list(range(1, 41))


def test_a_search_uses_the_files_and_not_the_database(closed):
    expected = answer(closed)
    with raw_database(closed / "gallery.db") as raw:
        raw.execute("UPDATE embedding SET vector = zeroblob(64)")
    assert answer(closed) == expected


def test_a_few_more_photos_are_a_few_more_bytes(closed):
    (large,) = segments(closed)
    before = (closed / large).stat()
    with Gallery.open(closed, writable=True) as gallery:
        gallery.add([photo("new", "new")])
        gallery.remove(3)
        expected = gallery.search(unit_vectors(4), 40)
    assert segments(closed)[0] == large
    assert (closed / large).stat().st_mtime_ns == before.st_mtime_ns
    assert [len(arrays_of(closed / name)["ids"]) for name in segments(closed)] == [40, 1]
    with Gallery.open(closed) as reader:
        assert reader.search(unit_vectors(4), 40) == expected
        assert reader.size == 40
    assert kinds(closed) == []


def test_dead_rows_and_small_segments_are_compacted(closed):
    (large,) = segments(closed)
    for number in range(6):
        with Gallery.open(closed, writable=True) as gallery:
            gallery.add([photo(f"n{number}", f"n{number}")])
    assert segments(closed)[0] == large
    assert len(segments(closed)) <= 3
    with Gallery.open(closed, writable=True) as gallery:
        for identity_id in range(1, 12):
            gallery.remove(identity_id)
    assert large not in segments(closed)
    assert not (closed / large).exists()
    assert sum(len(arrays_of(closed / name)["ids"]) for name in segments(closed)) == 35
    with Gallery.open(closed, writable=True) as gallery:
        gallery.restore(1)
        assert gallery.search(PEOPLE[0].vector[None], 1)[0].candidates[0].id == 1
    assert kinds(closed) == []


@pytest.mark.slow
def test_a_reader_follows_a_writer_from_revision_to_revision(closed):
    with Gallery.open(closed) as reader, Gallery.open(closed, writable=True) as writer:
        for act in (
            lambda: writer.add([photo("x", "x"), photo("p1", "y")]),
            lambda: writer.remove(2),
            lambda: writer.merge(5, 6),
            lambda: writer.undo(),
            lambda: writer.restore(2),
            lambda: writer.remove_templates([7, 8]),
            lambda: writer.erase(9),
            lambda: writer.rebuild(),
            lambda: writer.add([photo("p7", "7")], restore=True),
        ):
            act()
            assert reader.search(unit_vectors(4), 50) == writer.search(unit_vectors(4), 50)
            fresh = Gallery.open(closed)
            assert fresh.search(unit_vectors(4), 50) == writer.search(unit_vectors(4), 50)
            fresh.close()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["coded"], indirect=True)
def test_every_flipped_bit_is_noticed(closed):
    expected = answer(closed)
    for name, sound in caches(closed).items():
        for place in [*range(0, len(sound), max(1, len(sound) // 9)), len(sound) - 1]:
            spoiled = bytearray(sound)
            spoiled[place] ^= 1 << (place % 8)
            (closed / name).write_bytes(spoiled)
            assert answer(closed) == expected, (name, place)
            assert set(kinds(closed)) & {"bad_cache", "stale_cache"}, (name, place)
        (closed / name).write_bytes(sound)
    assert kinds(closed) == []


@pytest.mark.folder
@pytest.mark.parametrize("closed", ["coded"], indirect=True)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_torn_file_is_made_anew(closed, share):
    expected = answer(closed)
    for name, sound in caches(closed).items():
        (closed / name).write_bytes(sound[: int(share * len(sound))])
        assert answer(closed) == expected
        assert kinds(closed) == ["bad_cache"]
        with Gallery.open(closed, writable=True) as gallery:
            assert gallery.search(unit_vectors(4), 5) == expected
            gallery.rebuild()
        assert kinds(closed) == []
        break  # the others are of another name by now


@pytest.fixture
def vectors_read(monkeypatch):
    """The templates whose vectors were read from the database, in order of the reads."""
    read = []

    def noted(connection, template_ids):
        read.extend(template_ids.tolist())
        return vectors_of(connection, template_ids)

    vectors_of = store.vectors_of
    monkeypatch.setattr(store, "vectors_of", noted)
    return read


def test_a_writer_that_changes_a_person_reads_that_persons_vectors_and_nobody_elses(closed, vectors_read):
    means = Gallery.open(closed).fusion == "mean"
    with Gallery.open(closed, writable=True) as writer:
        writer.search(unit_vectors(1), 1)
        for act, its in [
            (lambda: writer.add([photo("p4", "another of p4")]), [5]),
            (lambda: writer.merge(8, 9), [8, 9]),
            (lambda: writer.remove(20), []),
            (lambda: writer.undo(), [20]),
            (lambda: writer.remove_templates([5]), [41]),
        ]:
            vectors_read.clear()
            act()
            writer.search(unit_vectors(1), 1)
            assert set(vectors_read) <= (set(its) if means else set()), its
        vectors_read.clear()
    with Gallery.open(closed) as reader:
        reader.search(unit_vectors(1), 1)
    assert vectors_read == [], "what the writer knew is in the files"
    assert kinds(closed) == []


def test_a_writer_that_stays_open_saves_by_itself(closed, monkeypatch):
    monkeypatch.setattr("indexer.gallery.IN_MEMORY", 1000)
    with Gallery.open(closed, writable=True) as writer:
        before = segments(closed)
        writer.add([photo(f"n{i}", f"n{i}") for i in range(20)])
        assert segments(closed) != before
        assert writer._cache.in_memory == 0
    assert kinds(closed) == []


def test_a_segment_that_outlived_its_file_is_written_again(closed):
    # A search that followed while caches were written anew holds rows of a file that is deleted by now.
    with Gallery.open(closed, writable=True) as writer:
        writer.search(unit_vectors(1), 1)
        seen_by_a_search = writer._cache.known
        for identity_id in range(1, 12):
            writer.remove(identity_id)
        writer.flush()
        assert segments(closed) != [seen_by_a_search.parts[0].segment.record.file]
        writer._cache._current = seen_by_a_search
        writer.add([photo("late", "late")])
        writer.flush()
        assert all((closed / name).exists() for name in segments(closed))
    assert kinds(closed) == []


def test_a_missing_file_is_made_anew_by_the_next_writer(closed):
    expected = answer(closed)
    for name in [*caches(closed)]:
        (closed / name).unlink(missing_ok=True)
        assert answer(closed) == expected
        with Gallery.open(closed, writable=True) as gallery:
            gallery.search(unit_vectors(1), 1)
        assert kinds(closed) == []


@pytest.mark.folder
def test_another_gallerys_files_are_not_believed(closed, tmp_path):
    expected = answer(closed)
    with Gallery.create(tmp_path / "other", MODEL, "max") as other:
        other.add([photo(f"q{i}", f"q{i}") for i in range(20)])
    for name, content in caches(tmp_path / "other").items():
        (closed / name).write_bytes(content)
    assert answer(closed) == expected
    assert kinds(closed) in (["stale_cache"], ["bad_cache"]), "of an encrypted one it cannot even be read"


@pytest.mark.no_person_keys
@pytest.mark.folder
def test_files_of_a_past_that_never_was_are_not_believed(closed):
    # An older database was put back and went on from there: the caches are of the same gallery and revision.
    older = (closed / "gallery.db").read_bytes()
    with Gallery.open(closed, writable=True) as gallery:
        gallery.remove(1)
    caches_of_one_past = caches(closed)
    (closed / "gallery.db").write_bytes(older)
    (closed / "gallery.revision").unlink()
    index_cache.remove_all(closed)
    with Gallery.open(closed, writable=True) as gallery:
        gallery.remove(2)
        expected = gallery.search(unit_vectors(4), 5)
    for name, content in caches_of_one_past.items():
        (closed / name).write_bytes(content)
    assert answer(closed) == expected
    assert kinds(closed) == ["stale_cache"]


def test_a_manifest_that_is_no_manifest_is_not_believed(closed):
    expected = answer(closed)
    for content in (b"", b"\xff" * 8, b"[]", b"null", b'{"sha256": 1}', json.dumps({"format": "x"}).encode()):
        (closed / "index.json").write_bytes(content)
        assert answer(closed) == expected


def test_a_writers_leftovers_are_cleared_away(closed):
    (closed / ".index.json.abandoned").write_bytes(b"half")
    (closed / "index-0123456789abcdef.safetensors").write_bytes(b"never named")
    with Gallery.open(closed, writable=True):
        pass
    assert not [*closed.glob("*abandoned"), *closed.glob("*0123456789abcdef*")]


@pytest.mark.folder
def test_a_full_disk_costs_the_caches_and_nothing_else(closed, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_space)
    with Gallery.open(closed, writable=True) as gallery:
        assert gallery.add([photo("late", "late")])[0].status == "enrolled"
        with pytest.raises(FileNotWritten, match="No space left"):
            gallery.rebuild()
    monkeypatch.undo()
    with Gallery.open(closed) as reader:
        assert reader.find("late")
        assert reader.check(deep=True) == []
    assert not list(closed.glob(".index*"))
