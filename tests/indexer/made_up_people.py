"""Made-up people for the gallery's tests: unit vectors from seeds, templates with readable sources."""

import hashlib

import numpy as np

from indexer.records import ModelBinding, NewTemplate

DIMENSION = 16
MODEL = ModelBinding("made-up", "a" * 64, DIMENSION)
OTHER_MODEL = ModelBinding("another", "b" * 64, 8)


def unit_vectors(count, dimension=DIMENSION, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def digest_of(source):
    return hashlib.sha256(source.encode()).digest()


def photo(name, source, external_id=None, vector=None, dimension=DIMENSION):
    """A template of `name` whose photo's bytes, and so its digest and vector, follow from `source`."""
    digest = digest_of(source)
    if vector is None:
        vector = unit_vectors(1, dimension, int.from_bytes(digest[:4]))[0]
    box = (10.0, 20.0, 30.0, 40.0)
    return NewTemplate(name, external_id, vector, f"photos/{source}", digest, box, 0.99, 0.5, "float32")
