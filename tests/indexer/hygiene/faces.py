"""Made-up galleries with known faults: people are directions, their photos lie around them."""

import numpy as np

from indexer.hygiene.people import gather
from indexer.records import Embeddings

DIMENSION = 64
SPREAD = 0.75  # length of what differs between photos of one person, whose direction has length 1


def directions(count, random):
    vectors = random.standard_normal((count, DIMENSION))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photos(people, random):
    """A photo, unit float32, of each of the directions [n, D]."""
    vectors = people + SPREAD * directions(len(people), random)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn_gallery(counts, seed=0):
    """Embeddings of people with so many photos each (identities and templates from 1 on), and whom each shows."""
    random = np.random.default_rng(seed)
    shows = np.repeat(np.arange(len(counts)), counts)
    vectors = photos(directions(len(counts), random)[shows], random)
    return Embeddings(np.arange(1, len(shows) + 1), shows + 1, vectors), shows


def drawn_people(counts, seed=0):
    return gather(drawn_gallery(counts, seed)[0])
