"""An encrypted export: one line of JSON, its envelope, then the sealed file; it opens wherever its key is.

The envelope is as a gallery's (`indexer.crypto.envelope`), of a key that was drawn for this file alone.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from indexer.crypto.envelope import opened, parse, seal_new, text_of
from indexer.crypto.keys import KeyProvider, require_encryption
from indexer.crypto.sealed import SealBroken, SealedReader, SealingWriter
from indexer.errors import GalleryError, StoreDamaged

_LABEL = "export"
_LONGEST_LINE = 4096


def is_sealed(path: Path) -> bool:
    """Say whether a file begins as an encrypted export does."""
    with path.open("rb") as file:
        return file.read(1) == b"{"


@contextmanager
def sealing(path: Path, key: KeyProvider) -> Iterator[Any]:
    """Hand out a file to write the export to, which lies at `path` encrypted when the block ends. Raises KeyMissing."""
    envelope, keys = seal_new(path, key)
    with path.open("wb") as file:
        file.write(text_of(envelope))
        with SealingWriter(file, keys.files, _LABEL) as writer:
            yield writer


@contextmanager
def unsealing(path: Path, key: KeyProvider | None) -> Iterator[IO[bytes]]:
    """Hand out the export that lies encrypted at `path`, to be read anywhere.

    Raises KeyMissing, WrongKey, and GalleryError for a file that is not as it was written.
    """
    with path.open("rb") as file:
        try:
            keys = opened(path, parse(file.readline(_LONGEST_LINE), path), key)
            require_encryption()
            begin = file.tell()
            content = SealedReader(file, keys.files, _LABEL, begin)
        except (StoreDamaged, SealBroken) as error:
            raise GalleryError(f"{path} is damaged: it is no export, or was altered; export it again") from error
        with io.BufferedReader(content) as reader:
            yield reader
