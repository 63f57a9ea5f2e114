"""The .rec and .idx files of insightface, which MXNet wrote, read without MXNet.

A record is the word 0xced7230a, a word of length (29 bits) and part (3 bits: 0 whole; 1, 2, 3 the first, a middle and
the last part of one that was split where the first word occurs within its data, which is then left out), the data,
and zeros up to a multiple of 4 bytes. The data is a header of flag (uint32), label (float32) and two ids (uint64), then
`flag` labels (float32) in place of the one, then the encoded image.
"""

import hashlib
import math
import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from training.data.faces import Ints, UInt8Images, decode, told_apart
from training.errors import DataError

MAGIC = 0xCED7230A
WORD = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
MAX_INDEX_BYTES = 4 * 2**30  # of a .idx: 100 million records and more
MAX_RECORD_BYTES = 16 * 2**20  # the largest face that anybody trains on has a few hundred kilobytes
META_FLAG = 2  # of record 0 where identity records follow the images: its labels are their first and last key


@dataclass(frozen=True)
class RecordFaces:
    """Images [N] of one or more .rec files; see `training.data.faces.FaceSource`.

    Attributes:
        paths: the .rec files.
        descriptors: the same, opened for reading.
        files: int64 [N], index into `paths`.
        keys: int64 [N], the key of the record in its .idx.
        offsets: int64 [N], where in the file its record starts.
    """

    paths: tuple[Path, ...]
    descriptors: tuple[int, ...]
    files: Ints
    keys: Ints
    offsets: Ints
    side: int
    labels: Ints
    identities: tuple[str, ...]
    digest: str
    left_out: int = field(default=0)

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `FaceSource`."""
        names = [self.name(index) for index in chosen]
        payloads = []
        for index in chosen:
            file = self.files[index]
            record = _record(self.descriptors[file], int(self.offsets[index]), self.paths[file], int(self.keys[index]))
            payloads.append(_image(record))
        return decode(payloads, names, self.side)

    def name(self, index: int) -> str:
        """FILE.rec/KEY."""
        return f"{self._file_names[self.files[index]]}/{self.keys[index]}"

    def order(self, random: np.random.Generator) -> Ints:
        """Shuffle everything."""
        return random.permutation(len(self.keys))

    @cached_property
    def _file_names(self) -> tuple[str, ...]:
        return told_apart(self.paths)


def open_records(paths: Sequence[Path], *, side: int) -> RecordFaces:
    """Open .rec files, each with its .idx beside it, and read every image's label.

    The same label in two files means the same person.

    Raises:
        DataError: a file is missing or damaged, with the key of the record.
    """
    with ExitStack() as opened:  # a refusal leaves no file open
        faces = _faces_of(paths, side, opened)
        opened.pop_all()
        return faces


def _faces_of(paths: Sequence[Path], side: int, opened: ExitStack) -> RecordFaces:
    digest = hashlib.sha256()
    descriptors, files, keys, offsets, labels = [], [], [], [], []
    for number, path in enumerate(paths):
        descriptor, text, size = _open(path, digest)
        opened.callback(os.close, descriptor)
        descriptors.append(descriptor)
        places = _places(text, size, path)
        for key in _image_keys(descriptor, places, path):
            labels.append(_label(descriptor, places[key], path, key))
            files.append(number)
            keys.append(key)
            offsets.append(places[key])
    if not keys:
        raise DataError(f"no images in {', '.join(map(str, paths)) or 'an empty list of .rec files'}")
    people, encoded = np.unique(np.array(labels), return_inverse=True)
    return RecordFaces(
        tuple(paths),
        tuple(descriptors),
        np.array(files, np.int64),
        np.array(keys, np.int64),
        np.array(offsets, np.int64),
        side,
        encoded.astype(np.int64),
        tuple(f"{person:g}" if person != int(person) else str(int(person)) for person in people),
        digest.hexdigest(),
    )


def _open(path: Path, digest: "hashlib._Hash") -> tuple[int, str, int]:
    """Open a .rec and read its .idx: the descriptor, the index as text, the size of the .rec in bytes."""
    index = path.with_suffix(".idx")
    try:
        for file in (path, index):
            if not file.is_file():
                raise DataError(f"cannot read {path} and its .idx: {file} is missing, or not a regular file")
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise DataError(f"the .idx of {path} has more than {MAX_INDEX_BYTES:,} bytes")
        text = index.read_text(encoding="ascii")
        status = path.stat()
        descriptor = os.open(path, os.O_RDONLY)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} and its .idx: {error}") from error
    digest.update(f"{text}{status.st_size} {status.st_mtime_ns}".encode())
    return descriptor, text, status.st_size


def _places(index: str, size: int, path: Path) -> dict[int, int]:
    """Read the .idx: from key to the offset of its record in a file of `size` bytes."""
    try:
        places = {int(key): int(place) for key, place in (line.split("\t") for line in index.splitlines() if line)}
    except ValueError as error:
        raise DataError(f"the .idx of {path} is damaged: a line is not KEY<tab>OFFSET") from error
    for key, place in places.items():
        if not 0 <= place < size or not 0 <= key < 2**63:
            raise DataError(f"the .idx of {path} is damaged: the record {key} at byte {place} is outside the file")
    return places


def _image_keys(descriptor: int, places: dict[int, int], path: Path) -> list[int]:
    """Choose the keys of images: all, or those that record 0 says stand before the records of identities."""
    if 0 in places:
        record = _record(descriptor, places[0], path, 0)
        flag = HEADER.unpack_from(record)[0]
        if flag == META_FLAG and HEADER.size + 4 * META_FLAG <= len(record) < HEADER.size + 4 * META_FLAG + 1:
            end = struct.unpack_from("<2f", record, HEADER.size)[0]
            if not math.isfinite(end):
                raise DataError(f"the record 0 of {path} is damaged: the end of the images is no number")
            # float32 does not know every number above 2^24: the end may be rounded, up or down.
            after = np.nextafter(np.float32(end), np.float32(np.inf))
            keys = [key for key in sorted(places) if 1 <= key < after]
            while keys and not _image(_record(descriptor, places[keys[-1]], path, keys[-1])):
                keys.pop()
            return keys
    return sorted(places)


def _image(record: bytes) -> bytes:
    """Return what follows the header and the labels: nothing in the record of an identity."""
    return record[HEADER.size + 4 * HEADER.unpack_from(record)[0] :]


def _label(descriptor: int, place: int, path: Path, key: int) -> float:
    """Read the label of a record; the first one where there are several."""
    start = os.pread(descriptor, WORD.size + HEADER.size + 4, place)
    if len(start) < WORD.size + HEADER.size or WORD.unpack_from(start)[0] != MAGIC:
        raise DataError(f"the record {key} of {path} is damaged, or the .idx is of another file")
    part, length = _part_and_length(WORD.unpack_from(start)[1])
    flag, label = HEADER.unpack_from(start, WORD.size)[:2]
    if part == WHOLE and length < HEADER.size + 4 * flag:
        raise DataError(f"the record {key} of {path} is damaged: it announces {flag} labels in {length} bytes")
    if flag and len(start) == WORD.size + HEADER.size + 4:
        (label,) = struct.unpack_from("<f", start, WORD.size + HEADER.size)
    if not math.isfinite(label):
        raise DataError(f"the record {key} of {path} has a label that is no number")
    return float(label)


def _part_and_length(word: int) -> tuple[int, int]:
    return word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)


def _record(descriptor: int, place: int, path: Path, key: int) -> bytes:
    """Read the data of the record at this offset, its parts put together."""
    start, end, held = place, os.fstat(descriptor).st_size, 0
    parts: list[bytes] = []
    while True:
        word = os.pread(descriptor, WORD.size, place)
        if len(word) < WORD.size or WORD.unpack(word)[0] != MAGIC:
            raise DataError(
                f"{path} has no record {key} at byte {start}: it is damaged, or the .idx is of another file"
            )
        part, length = _part_and_length(WORD.unpack(word)[1])
        held += length
        # Looked at before it is read: a wrong length must not take memory.
        if place + WORD.size + length > end or (part in (WHOLE, FIRST)) != (not parts) or part > LAST:
            raise DataError(f"the record {key} at byte {start} of {path} is torn")
        if held > MAX_RECORD_BYTES:
            raise DataError(f"the record {key} of {path} has more than {MAX_RECORD_BYTES:,} bytes; a face has fewer")
        parts.append(os.pread(descriptor, length, place + WORD.size))
        if part in (WHOLE, LAST):
            break
        place += WORD.size + (length + 3) // 4 * 4
    record = struct.pack("<I", MAGIC).join(parts)
    if len(record) < HEADER.size or len(record) < HEADER.size + 4 * HEADER.unpack_from(record)[0]:
        raise DataError(f"the record {key} at byte {start} of {path} is too short for its labels and an image")
    return record
