"""Which library opens a gallery's database: Python's own SQLite, or SQLCipher with the gallery's key.

SQLCipher is SQLite with each page encrypted (AES-256-CBC, a fresh nonce at each writing) and authenticated
(HMAC-SHA512), in the file, in the write-ahead log and in rollback journals. Its temporary tables stay in memory.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from indexer.crypto.envelope import FILE, GalleryKeys
from indexer.errors import StoreDamaged, WrongKey

PAGE_SIZE = 16384  # seven 512-number templates a page instead of one and an overflow chain

_SAME_SALT = 8
"""Bytes of sixteen from which two salts are one that was damaged: of two drawn ones so many agree once in 10^15."""


def library(keys: GalleryKeys | None) -> ModuleType:
    """Return the module (DB-API 2) that opens a database, plain or under keys."""
    if keys is None:
        return sqlite3
    from sqlcipher3 import dbapi2

    module: ModuleType = dbapi2
    return module


def file_uri(path: Path) -> str:
    """Return what SQLite opens a file by, whatever bytes its name has."""
    return f"file:{quote(os.fsencode(path.absolute()))}"


def connect(uri: str, keys: GalleryKeys | None) -> Any:
    """Open a database that is there, outside of any transaction: its owner says when one begins."""
    raw = library(keys).connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    if keys is not None:
        _unlock(raw, _raw_key(keys))
    return raw


def connect_new(path: Path, keys: GalleryKeys | None) -> Any:
    """Open a database that is to be made, in a file that is empty or not there."""
    raw = library(keys).connect(str(path))
    if keys is None:
        raw.execute(f"PRAGMA page_size={PAGE_SIZE}")
    else:
        _unlock(raw, new_key(keys))
    return raw


def connect_to_export(uri: str, keys: GalleryKeys | None) -> Any:
    """Open a database, plain or encrypted, with the library that can write an encrypted copy of it."""
    from sqlcipher3 import dbapi2

    raw = dbapi2.connect(uri, uri=True, isolation_level=None)
    if keys is not None:
        _unlock(raw, _raw_key(keys))
    return raw


def new_key(keys: GalleryKeys) -> str:
    """Return what SQLCipher takes for a database that is to be made: the key, and the salt to begin with."""
    return f"x'{keys.database.hex()}{keys.salt.hex()}'"


def check_key(path: Path, keys: GalleryKeys) -> None:
    """Raise WrongKey where an encrypted database is another envelope's, StoreDamaged where its beginning is damaged.

    SQLCipher has one answer for both. The first 16 bytes, its salt, tell them apart: the envelope knows them.
    """
    module = library(keys)
    with closing(connect(f"{file_uri(path)}?mode=ro", keys)) as raw:
        try:
            raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except module.DatabaseError as error:
            if "not a database" not in str(error):
                return  # busy, or damaged further on: told where it is used
            (salt,) = raw.execute("PRAGMA cipher_salt").fetchone()
            alike = sum(one == other for one, other in zip(bytes.fromhex(salt), keys.salt, strict=False))
            if alike < _SAME_SALT:
                raise WrongKey(
                    f"{path} is not the database that {FILE} beside it is of: it is another gallery's, or no encrypted"
                    " one; put the two back that belong together"
                ) from error
            raise StoreDamaged(
                f"{path} is damaged at its beginning, and the key is the right one; restore it from a backup"
            ) from error


def _raw_key(keys: GalleryKeys) -> str:
    return f"x'{keys.database.hex()}'"  # the salt is read from the file


def _unlock(raw: Any, key: str) -> None:
    raw.execute("PRAGMA cipher_log_level = NONE")  # else it writes to stderr
    raw.execute(f'PRAGMA key = "{key}"')
    raw.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
