"""Cancelable templates: a gallery's vectors lie turned by a secret rotation, which follows from a key kept elsewhere.

A rotation leaves every inner product as it is, so searches and thresholds do not change; vectors of two galleries that
were turned differently have nothing to do with each other. It is drawn from all rotations alike (Haar: the orthogonal
factor of a matrix of normal numbers, with the signs of its triangle; Mezzadri 2007), from the key and a salt of the
gallery, so that one key turns two galleries differently.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.crypto.envelope import derived, key_id_of
from indexer.crypto.keys import TURN_VARIABLE, KeyProvider, require_encryption
from indexer.errors import GalleryError, KeyMissing, VectorError, WrongKey
from indexer.records import FloatMatrix, Turn

LARGEST = 4096
"""Numbers in a vector up to which it is turned: the rotation is a matrix of 128 MiB there, and takes half a minute."""

_SALT = 16  # bytes
_ROWS = 16_384  # turned at a time: 64 MiB of 512 numbers in float64


@dataclass(frozen=True, repr=False)
class Turning:
    """The secret rotation of one gallery, for vectors of any length; `mark` is what the gallery says about it."""

    mark: Turn
    secret: bytes
    _matrices: dict[int, NDArray[np.float64]] = field(default_factory=dict, compare=False)

    def turned(self, vectors: FloatMatrix) -> FloatMatrix:
        """Return vectors float32 [n, D] as they lie in the gallery. Raises VectorError where D is above LARGEST."""
        return _product(vectors, self.matrix(vectors.shape[1]).T)

    def turned_back(self, vectors: FloatMatrix) -> FloatMatrix:
        """Return vectors float32 [n, D] that lie in the gallery as the model gave them, but for float32's rounding."""
        return _product(vectors, self.matrix(vectors.shape[1]))

    def turned_on(self, vectors: FloatMatrix, before: "Turning | None") -> FloatMatrix:
        """Return vectors that lie turned by `before` (None: as the model gave them) as this one turns them."""
        matrix = self.matrix(vectors.shape[1]).T
        return _product(vectors, matrix if before is None else before.matrix(vectors.shape[1]) @ matrix)

    def matrix(self, dimension: int) -> NDArray[np.float64]:
        """Return the rotation, orthogonal float64 [D, D]: R v is the vector v turned."""
        if dimension not in self._matrices:
            self._matrices[dimension] = _rotation(self.secret, dimension)
        return self._matrices[dimension]


def new_turning(folder: Path, provider: KeyProvider) -> Turning:
    """Draw another rotation for a folder's gallery, from the provider's key. Raises KeyMissing."""
    require_encryption()
    salt, key = secrets.token_bytes(_SALT), provider.key(folder, None)
    return _turning(Turn(key_id_of(key), salt), key)


def turning_of(what: Path, mark: Turn | None, provider: KeyProvider | None) -> Turning | None:
    """Return the rotation that a gallery or an export says its vectors are turned by; None where they are not.

    Raises KeyMissing, WrongKey, and GalleryError where a key is given for vectors that are not turned: they would be
    taken for such.
    """
    if mark is None and provider is None:
        return None
    if mark is None:
        raise GalleryError(
            f"a key that turns vectors was given, and those of {what} lie as the model gave them: unset {TURN_VARIABLE}"
            " and use it as it is, or turn them with `faceid gallery rotate --turn-to`"
        )
    if provider is None:
        raise KeyMissing(
            f"the vectors of {what} are turned by the key {mark.key_id}: say where that key is, as in"
            f" {TURN_VARIABLE}=file:/path/to/key (or env:NAME, command:COMMAND, keyring:NAME)"
        )
    require_encryption()
    key = provider.key(what, mark.key_id)
    if key_id_of(key) != mark.key_id:
        raise WrongKey(
            f"the vectors of {what} are turned by the key {mark.key_id}, and the key at hand is {key_id_of(key)}; give"
            " the other one (a backup or an export of before `rotate --turn-to` keeps the key of then)"
        )
    return _turning(mark, key)


def _turning(mark: Turn, key: bytes) -> Turning:
    return Turning(mark, derived(key, b"faceid turn", mark.salt))


def _rotation(secret: bytes, dimension: int) -> NDArray[np.float64]:
    if dimension > LARGEST:
        raise VectorError(f"vectors of {dimension} numbers are not turned: {LARGEST} is the limit")
    # By SHAKE-256 and not by NumPy's generators: what these draw may change from version to version.
    stream = hashlib.shake_256(secret + dimension.to_bytes(4, "big")).digest(16 * dimension * dimension)
    uniform = (np.frombuffer(stream, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[: dimension**2]))  # Box and Muller 1958
    normal = radius * np.cos(2 * np.pi * uniform[dimension**2 :])
    orthogonal, triangle = np.linalg.qr(normal.reshape(dimension, dimension))
    turned: NDArray[np.float64] = orthogonal * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return turned


def _product(vectors: FloatMatrix, matrix: NDArray[np.float64]) -> FloatMatrix:
    """Return vectors [n, D] times a matrix [D, D], in float64 and rounded once: the same in whatever batch."""
    found = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS):
        found[start : start + _ROWS] = vectors[start : start + _ROWS].astype(np.float64) @ matrix
    return found
