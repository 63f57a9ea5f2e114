"""The envelope of an encrypted gallery, `gallery.key`: its own random key, wrapped by the user's.

The user's key wraps the gallery's key, the gallery's key gives those that encrypt. So another user's key can take over
without a byte of the data being written anew (`rotate`), and no two galleries, nor two encrypted copies of one, share a
key that encrypts. The file is JSON: `format`, `key_id` (which user's key), `salt` (hex, the first 16 bytes of
`gallery.db`: which database it is of) and `wrapped` (hex: nonce, AES-256-GCM of the gallery's key, tag; the other three
are authenticated with it). Format 2 is that of a gallery each of whose people has a key (`indexer.store.person_keys`).
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from indexer.crypto.keys import VARIABLE, KeyProvider, require_encryption
from indexer.durable_file import PRIVATE, replacing
from indexer.errors import GalleryError, KeyMissing, StoreDamaged, WrongKey
from indexer.regular_file import read_regular

FILE = "gallery.key"

_FORMAT = "faceid-envelope-1"
_WITH_PEOPLE = "faceid-envelope-2"
_NONCE, _TAG, _KEY, _SALT = 12, 16, 32, 16  # bytes
_LARGEST = 4096
_ALTERED = (
    "{} was altered: the key is the right one, and it does not fit; put back the copy that lies in every backup of this"
    " gallery"
)


@dataclass(frozen=True)
class Envelope:
    """The content of `gallery.key`."""

    key_id: str
    salt: bytes
    wrapped: bytes
    people: bool = False
    """Whether each person has a key, kept elsewhere."""


@dataclass(frozen=True, repr=False)
class GalleryKeys:
    """What encrypts one gallery: 32 bytes each; `salt` are the database's first 16 bytes.

    `people` encrypts the keys of its people; None where they have none.
    """

    database: bytes
    files: bytes
    salt: bytes
    people: bytes | None = None


def key_id_of(key: bytes) -> str:
    """Return what tells a user's key from others: 16 hexadecimal digits."""
    return derived(key, b"faceid key id", size=8).hex()


def derived(key: bytes, purpose: bytes, salt: bytes = b"", size: int = _KEY) -> bytes:
    """Return `size` bytes that follow from a key of 32 random bytes, for one purpose (HKDF-SHA256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt, purpose).derive(key)


def seal_new(folder: Path, provider: KeyProvider, *, people: bool = False) -> tuple[Envelope, GalleryKeys]:
    """Draw a gallery's key for a folder, and wrap it; `people`: each will have a key, too. Raises KeyMissing."""
    require_encryption()
    salt, own = secrets.token_bytes(_SALT), secrets.token_bytes(_KEY)
    sealed = _wrap(own, salt, provider.key(folder, None), people=people)
    return sealed, _gallery_keys(own, sealed)


def read_envelope(folder: Path) -> Envelope | None:
    """Return a folder's envelope; None where there is none. Raises StoreDamaged for one that is not sound."""
    path = folder / FILE
    try:
        return parse(read_regular(path, _LARGEST), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreDamaged(
            f"{path} cannot be read: {error.strerror}; put back the copy that lies in every backup of this gallery"
        ) from error


def parse(text: bytes, path: Path) -> Envelope:
    """Return the envelope that a text holds, which lies at `path`; raises StoreDamaged."""
    damaged = f"{path} is damaged; put back the copy that lies in every backup of this gallery"
    try:
        content = json.loads(text)
        known = content["format"] in (_FORMAT, _WITH_PEOPLE)
        if not known and str(content["format"]).startswith("faceid-envelope-"):
            raise StoreDamaged(f"{path} is of a newer version ({content['format']!r:.40}); open it with that one")
        key_id = content["key_id"]
        salt, wrapped = bytes.fromhex(content["salt"]), bytes.fromhex(content["wrapped"])
        sizes = (len(bytes.fromhex(key_id)), len(salt), len(wrapped))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreDamaged(damaged) from error
    if not known or sizes != (8, _SALT, _NONCE + _KEY + _TAG):
        raise StoreDamaged(damaged)
    return Envelope(key_id, salt, wrapped, content["format"] == _WITH_PEOPLE)


def write_envelope(folder: Path, envelope: Envelope) -> None:
    """Put an envelope into a folder, in one step. Raises FileNotWritten."""
    with replacing(folder / FILE, PRIVATE) as temporary:
        temporary.write_bytes(text_of(envelope))


def text_of(envelope: Envelope) -> bytes:
    """Return an envelope as the line of JSON that `parse` reads."""
    content = {"format": _format(people=envelope.people), "key_id": envelope.key_id, "salt": envelope.salt.hex()}
    return json.dumps({**content, "wrapped": envelope.wrapped.hex()}).encode() + b"\n"


def unlock(folder: Path, provider: KeyProvider | None) -> GalleryKeys | None:
    """Return the keys of a folder's gallery; None for one that is not encrypted.

    Raises KeyMissing, WrongKey, StoreDamaged for an envelope that is not as it was written, and GalleryError where a
    key is given for a gallery that is not encrypted: it would be taken for one.
    """
    envelope = read_envelope(folder)
    if envelope is None and provider is None:
        return None
    if envelope is None:
        raise GalleryError(
            f"a key was given, and {folder} is not encrypted (it has no {FILE}): unset {VARIABLE} to use it as it is,"
            " or make an encrypted copy with `faceid gallery encrypt`"
        )
    return opened(folder / FILE, envelope, provider)


def opened(path: Path, envelope: Envelope, provider: KeyProvider | None) -> GalleryKeys:
    """Return the keys that an envelope, which lies at `path`, is of. Raises KeyMissing, WrongKey, StoreDamaged."""
    if provider is None:
        raise KeyMissing(
            f"{_what(path)} is encrypted under the key {envelope.key_id}: say where that key is, as in"
            f" {VARIABLE}=file:/path/to/key (or env:NAME, command:COMMAND, keyring:NAME)"
        )
    return _gallery_keys(_unwrap(path, envelope, provider), envelope)


def rewrap(folder: Path, old: KeyProvider, new: KeyProvider) -> Envelope:
    """Let another user's key open a folder's gallery, and the old one no longer. Raises as `unlock`."""
    envelope = read_envelope(folder)
    if envelope is None:
        raise GalleryError(f"{folder} is not encrypted: `faceid gallery encrypt` makes an encrypted copy")
    own = _unwrap(folder / FILE, envelope, old)
    renewed = _wrap(own, envelope.salt, new.key(folder, None), people=envelope.people)
    write_envelope(folder, renewed)
    return renewed


def _wrap(own: bytes, salt: bytes, key: bytes, *, people: bool) -> Envelope:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key_id, nonce = key_id_of(key), secrets.token_bytes(_NONCE)
    secret = AESGCM(derived(key, b"faceid wrap")).encrypt(nonce, own, _authenticated(key_id, salt, people=people))
    return Envelope(key_id, salt, nonce + secret, people)


def _unwrap(path: Path, envelope: Envelope, provider: KeyProvider) -> bytes:
    require_encryption()
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = provider.key(_what(path), envelope.key_id)
    key_id = key_id_of(key)
    nonce, secret = envelope.wrapped[:_NONCE], envelope.wrapped[_NONCE:]
    cipher = AESGCM(derived(key, b"faceid wrap"))
    try:
        own = cipher.decrypt(nonce, secret, _authenticated(key_id, envelope.salt, people=envelope.people))
    except InvalidTag as error:
        if key_id != envelope.key_id:
            raise WrongKey(
                f"{_what(path)} is encrypted under the key {envelope.key_id}, and the key at hand is {key_id}; give the"
                " other one (a backup of before `rotate` keeps the key of then)"
            ) from error
        raise StoreDamaged(_ALTERED.format(path)) from error
    if key_id != envelope.key_id:
        raise StoreDamaged(_ALTERED.format(path))
    return own


def _what(path: Path) -> Path:
    """Return what a person would call encrypted: the gallery's folder, or an export."""
    return path.parent if path.name == FILE else path


def _gallery_keys(own: bytes, envelope: Envelope) -> GalleryKeys:
    people = derived(own, b"faceid people") if envelope.people else None
    return GalleryKeys(derived(own, b"faceid database"), derived(own, b"faceid files"), envelope.salt, people)


def _authenticated(key_id: str, salt: bytes, *, people: bool) -> bytes:
    return f"{_format(people=people)} {key_id} {salt.hex()}".encode()


def _format(*, people: bool) -> str:
    return _WITH_PEOPLE if people else _FORMAT
