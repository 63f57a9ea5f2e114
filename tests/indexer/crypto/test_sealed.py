"""What was sealed comes back, in any part, and nothing else: no flipped bit, cut, move, other name or other key."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.crypto import sealed
from indexer.crypto.sealed import SealBroken, SealedContent, SealedReader, SealingWriter, open_bytes, seal_bytes

KEY, OTHER = b"k" * 32, b"o" * 32
CHUNK = sealed.CHUNK


def content_of(size):
    return np.random.default_rng(size).bytes(size)


def opened(stored, key=KEY, label="name"):
    return SealedContent(key, label, lambda place, size: stored[place : place + size], len(stored))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_it_comes_back_and_its_size_is_known_before(size):
    content = content_of(size)
    stored = seal_bytes(KEY, "name", content)
    assert len(stored) == sealed.sealed_size(size)
    assert open_bytes(KEY, "name", stored) == content
    assert opened(stored).size == size
    assert size < 100 or content[:64] not in stored


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3 * CHUNK - 1), st.integers(0, 2 * CHUNK))
def test_any_part_of_it_is_read_alone(start, length):
    content = content_of(3 * CHUNK - 5)
    end = min(len(content), start + length)
    part = np.empty(max(0, end - start), np.uint8)
    opened(STORED).read_into(part, start)
    assert part.tobytes() == content[start:end]


STORED = seal_bytes(KEY, "name", content_of(3 * CHUNK - 5))


@pytest.mark.parametrize("place", [0, 7, 8, 23, 24, CHUNK, CHUNK + 30, 2 * CHUNK + 60, len(STORED) - 1])
def test_a_flipped_bit_is_noticed(place):
    spoiled = bytearray(STORED)
    spoiled[place] ^= 1
    with pytest.raises(SealBroken):
        open_bytes(KEY, "name", bytes(spoiled))


def test_chunks_that_are_missing_or_changed_places_are_noticed():
    first, second, third = (STORED[sealed.place_of(n) : sealed.place_of(n + 1)] for n in range(3))
    header = STORED[: sealed.place_of(0)]
    for order in ([first, second], [second, first, third], [first, first, third], [first], [third], []):
        with pytest.raises(SealBroken):
            open_bytes(KEY, "name", header + b"".join(order))
    with pytest.raises(SealBroken):
        open_bytes(KEY, "name", STORED + third)


@pytest.mark.parametrize(("key", "label"), [(OTHER, "name"), (KEY, "other")])
def test_another_key_or_another_files_name_opens_nothing(key, label):
    with pytest.raises(SealBroken):
        open_bytes(key, label, STORED)


def test_no_two_files_have_the_same_ciphertext_even_of_one_content_and_name():
    one, other = seal_bytes(KEY, "name", bytes(1000)), seal_bytes(KEY, "name", bytes(1000))
    assert not {one[place : place + 16] for place in range(24, 1000)} & {
        other[place : place + 16] for place in range(24, 1000)
    }


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2 * CHUNK), max_size=5))
def test_written_piece_by_piece_and_read_as_a_file(tmp_path_factory, sizes):
    content = content_of(sum(sizes))
    path = tmp_path_factory.mktemp("sealed") / "file"
    with path.open("wb") as file:
        file.write(b"before")
        with SealingWriter(file, KEY, "name") as writer:
            start = 0
            for size in sizes:
                writer.write(content[start : start + size])
                start += size
    with path.open("rb") as file, io.BufferedReader(SealedReader(file, KEY, "name", begin=6)) as reader:
        assert reader.read() == content
        reader.seek(-min(3, len(content)), io.SEEK_END)
        assert reader.read() == content[-3:]


def test_a_file_that_changes_under_its_reader_is_an_error_of_reading(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(STORED)
    with path.open("rb") as file:
        reader = SealedReader(file, KEY, "name")
        with path.open("r+b") as other:
            other.seek(CHUNK)
            other.write(b"xxxx")
        with pytest.raises(OSError, match="not as it was written"):
            reader.read()
