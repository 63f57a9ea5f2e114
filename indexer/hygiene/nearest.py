"""The nearest of all, exactly: the certified search of the gallery, on rows that a review chooses."""

import numpy as np

from indexer.records import FloatMatrix, Ids
from indexer.search import codes as coding
from indexer.search.certified_search import Found, Part, search
from indexer.search.shortlist import Segment

AHEAD = 12
"""Nearest that are asked for where their crowd tells something: oneself, the best other, and ten more."""


def searchable(vectors: FloatMatrix, owners: Ids) -> Part:
    """Prepare vectors [n, D] to be searched; what is found is an owner, by its nearest row."""
    coded = coding.encode(vectors) if len(vectors) >= coding.CODED_FROM else None
    return Part(Segment(np.arange(len(vectors)), vectors, coded), owners)


def nearest_owners(part: Part, queries: FloatMatrix, k: int) -> Found:
    """Return the min(k, owners) nearest owners of each query [Q, D], with the rows that gave their scores."""
    return search([part], queries, k)
