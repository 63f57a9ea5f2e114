"""Tar shards in the layout of WebDataset: KEY.jpg and KEY.cls beside each other, any number of tars of any size.

Only an index of the shards is in memory, some 40 bytes a face. An epoch goes through a few shards at a time, chosen and
mixed anew each time, so a disk reads large stretches and the page cache holds a few shards; yet any face can be read at
any time, so that a step is a function of its number, as with every other reader.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from training.data.faces import IMAGE_SUFFIXES, Ints, UInt8Images, decode, told_apart
from training.data.tar_members import content, members
from training.errors import DataError

LABEL_SUFFIX = ".cls"
MAX_LABEL_BYTES = 4096
SHARDS_AT_A_TIME = 8  # mixed with each other; 1,000 to 10,000 faces a shard are usual


@dataclass(frozen=True)
class ShardFaces:
    """Images [N] in tars; see `training.data.faces.FaceSource`.

    Attributes:
        paths: the tars.
        descriptors: the same, opened for reading.
        shards: int64 [N], index into `paths`, rising.
        offsets: int64 [N], where in its tar the image starts.
        sizes: int64 [N], its bytes.
    """

    paths: tuple[Path, ...]
    descriptors: tuple[int, ...]
    shards: Ints
    offsets: Ints
    sizes: Ints
    side: int
    labels: Ints
    identities: tuple[str, ...]
    digest: str
    left_out: int = field(default=0)

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `FaceSource`."""
        payloads = [
            os.pread(self.descriptors[self.shards[index]], int(self.sizes[index]), int(self.offsets[index]))
            for index in chosen
        ]
        return decode(payloads, [self.name(index) for index in chosen], self.side)

    def name(self, index: int) -> str:
        """SHARD.tar/OFFSET: keys are not kept."""
        return f"{self._shard_names[self.shards[index]]}/{self.offsets[index]}"

    def order(self, random: np.random.Generator) -> Ints:
        """Shards in a drawn order, the faces of SHARDS_AT_A_TIME of them shuffled together."""
        starts = np.searchsorted(self.shards, np.arange(len(self.paths) + 1))
        drawn = random.permutation(len(self.paths))
        groups = [drawn[first : first + SHARDS_AT_A_TIME] for first in range(0, len(drawn), SHARDS_AT_A_TIME)]
        mixed = [np.concatenate([np.arange(starts[shard], starts[shard + 1]) for shard in group]) for group in groups]
        return np.concatenate([random.permutation(group) for group in mixed])

    @cached_property
    def _shard_names(self) -> tuple[str, ...]:
        return told_apart(self.paths)


def open_shards(paths: Sequence[Path], *, side: int) -> ShardFaces:
    """Index tars of KEY.jpg (.png, .webp) and KEY.cls, whose text is the identity (a number or a name).

    Raises:
        DataError: a tar is missing or damaged, or a key has no image or no label.
    """
    digest = hashlib.sha256()
    shards, offsets, sizes, labels = array("q"), array("q"), array("q"), array("q")
    people: dict[str, int] = {}
    for number, path in enumerate(paths):
        for offset, size, person in _faces(path):
            shards.append(number)
            offsets.append(offset)
            sizes.append(size)
            labels.append(people.setdefault(person, len(people)))
            digest.update(f"{offset} {size} {person}\n".encode())
        digest.update(f"{path.name} {path.stat().st_mtime_ns}\n".encode())
    if not shards:
        raise DataError(f"no faces in {', '.join(map(str, paths)) or 'an empty list of shards'}")
    names = np.array(list(people))
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(names)] = np.arange(len(names))
    return ShardFaces(
        tuple(paths),
        tuple(os.open(path, os.O_RDONLY) for path in paths),
        np.array(shards),
        np.array(offsets),
        np.array(sizes),
        side,
        ranks[np.array(labels)],
        tuple(sorted(people)),
        digest.hexdigest(),
    )


def is_shard(path: Path) -> bool:
    """Whether a tar has the layout of WebDataset: labels among its first files."""
    try:
        return any(member.name.endswith(LABEL_SUFFIX) for _, member in islice(members(path), 16))
    except DataError:
        return False  # whoever reads it says why it cannot


def _faces(path: Path) -> Iterator[tuple[int, int, str]]:
    """Offset and size of the image, and the identity, of each key in turn."""
    key, image, person = "", None, None
    for name, offset, size, label in _files(path):
        place = PurePosixPath(name)
        stem = place.name.partition(".")[0]
        if not stem:  # hidden: what a system put beside the files
            continue
        if (own := str(place.with_name(stem))) != key:
            if key:
                yield _whole(path, key, image, person)
            key, image, person = own, None, None
        is_image = place.suffix.lower() in IMAGE_SUFFIXES
        if (is_image and image is not None) or (label is not None and person is not None):
            raise DataError(
                f"the key {key} in {path} has two {'images' if is_image else 'labels'}: a key ends at the first dot of "
                "a name, so it must have none itself; rebuild the shard"
            )
        if is_image:
            image = (offset, size)
        elif label is not None:
            person = label
    if key:
        yield _whole(path, key, image, person)


def _files(path: Path) -> Iterator[tuple[str, int, int, str | None]]:
    """Name, offset, size, and the text of a label, of each file in the tar, which is read once from start to end."""
    for tar, member in members(path, "r:"):
        label = None
        if member.name.endswith(LABEL_SUFFIX):
            if member.size > MAX_LABEL_BYTES:
                raise DataError(f"{member.name} in {path} has {member.size:,} bytes; a label is a number or a name")
            try:
                label = content(tar, member).decode().strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{member.name} in {path} is not in UTF-8") from error
        yield member.name, member.offset_data, member.size, label


def _whole(path: Path, key: str, image: tuple[int, int] | None, person: str | None) -> tuple[int, int, str]:
    if image is None or not person:
        missing = "image" if image is None else "label (.cls)"
        raise DataError(f"the key {key} in {path} has no {missing}; rebuild the shard")
    return (*image, person)
