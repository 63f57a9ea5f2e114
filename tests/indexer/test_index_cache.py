"""The cache is believed only if every word of it fits; whatever befalls it, searches answer the same."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from indexer.errors import GalleryError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo, unit_vectors


@pytest.fixture
def closed(tmp_path):
    """A gallery with its cache, closed; and what it answers."""
    path = tmp_path / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add([photo(f"p{i}", str(i)) for i in range(20)])
    return path


def answer(path):
    with Gallery.open(path) as reader:
        return reader.search(unit_vectors(4), 5)


def kinds(path):
    with Gallery.open(path) as reader:
        return [problem.kind for problem in reader.check()]


def test_closing_leaves_a_fresh_cache(closed):
    assert kinds(closed) == []
    tensors = load_file(closed / "index.safetensors")
    assert tensors["ids"].tolist() == list(range(1, 21))
    assert tensors["vectors"].dtype == np.float32


def test_every_flipped_bit_is_noticed(closed):
    cache = closed / "index.safetensors"
    expected, sound = answer(closed), cache.read_bytes()
    header = 8 + struct.unpack("<Q", sound[:8])[0]
    places = [*range(0, 8), *range(8, header, 7), *range(header, len(sound), 37), len(sound) - 1]
    for place in places:
        spoiled = bytearray(sound)
        spoiled[place] ^= 1 << (place % 8)
        cache.write_bytes(spoiled)
        assert answer(closed) == expected, f"byte {place}"
    # A flip in the payload is also told by check (one in the header may make it another revision's: stale).
    spoiled = bytearray(sound)
    spoiled[-1] ^= 1
    cache.write_bytes(spoiled)
    assert kinds(closed) == ["bad_cache"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_torn_file_is_rebuilt(closed, share):
    cache = closed / "index.safetensors"
    expected, sound = answer(closed), cache.read_bytes()
    cache.write_bytes(sound[: int(share * len(sound))])
    assert answer(closed) == expected
    with Gallery.open(closed, writable=True) as gallery:
        gallery.rebuild()
    assert kinds(closed) == []
    assert cache.stat().st_size == len(sound)


def test_a_missing_file_is_rebuilt_by_the_next_writer(closed):
    expected = answer(closed)
    (closed / "index.safetensors").unlink()
    assert answer(closed) == expected
    with Gallery.open(closed, writable=True):
        pass
    assert (closed / "index.safetensors").exists()
    assert kinds(closed) == []


def test_a_stale_file_is_not_believed(closed):
    cache = closed / "index.safetensors"
    old = cache.read_bytes()
    with Gallery.open(closed, writable=True) as gallery:
        gallery.remove(1)
        expected = gallery.search(unit_vectors(4), 5)
    cache.write_bytes(old)
    assert answer(closed) == expected
    assert kinds(closed) == ["stale_cache"]


def test_another_gallerys_file_is_not_believed(closed, tmp_path):
    expected = answer(closed)
    with Gallery.create(tmp_path / "other", MODEL) as other:
        other.add([photo(f"q{i}", f"q{i}") for i in range(20)])
    (closed / "index.safetensors").write_bytes((tmp_path / "other" / "index.safetensors").read_bytes())
    assert answer(closed) == expected
    assert kinds(closed) == ["stale_cache"]


def test_a_forged_file_with_the_right_words_and_a_wrong_vector_is_not_believed(closed):
    cache = closed / "index.safetensors"
    expected, raw = answer(closed), cache.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    tensors = load_file(cache)
    tensors["vectors"] = np.roll(tensors["vectors"], 1, axis=0)
    save_file(tensors, cache, metadata)
    assert answer(closed) == expected
    assert kinds(closed) == ["bad_cache"]


def test_a_file_that_is_not_even_safetensors_is_not_believed(closed):
    expected = answer(closed)
    for content in (b"", b"\xff" * 8, b"\0" * 100, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 4) + b"null"):
        (closed / "index.safetensors").write_bytes(content)
        assert answer(closed) == expected


def test_a_writers_leftovers_are_cleared_away(closed):
    (closed / ".index.safetensors.abandoned").write_bytes(b"half")
    with Gallery.open(closed, writable=True):
        pass
    assert not list(closed.glob(".index*"))


def test_a_full_disk_costs_the_cache_and_nothing_else(closed, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", no_space)
    with Gallery.open(closed, writable=True) as gallery:
        assert gallery.add([photo("late", "late")])[0].status == "enrolled"
        with pytest.raises(GalleryError, match="No space left"):
            gallery.rebuild()
    monkeypatch.undo()
    with Gallery.open(closed) as reader:
        assert reader.find("late")
        assert reader.check() == []
    assert not list(closed.glob(".index*"))
