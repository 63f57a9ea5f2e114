"""What the worst morphs of people's documents score against other photos of them: measured, to set thresholds with."""

import numpy as np

from indexer.decision.morph import MorphScores, look_alikes, midpoints
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, Ids
from indexer.search.scores import canonical_scores


def measure_morphs(documents: FloatMatrix, live: FloatMatrix, owners: Ids, data: str, date: str) -> MorphScores:
    """Measure worst cases on documents [P, D] and live photos [n, D] of `owners` int64 [n], places in the documents.

    Everybody has a live photo; the first one of each counts against morphs. Raises CalibrationError for fewer than two
    people.
    """
    if len(documents) < 2:
        raise CalibrationError("morphs are of two people: give documents and live photos of more")
    first = np.searchsorted(owners, np.arange(len(documents)))
    partner = look_alikes(documents)
    middle = midpoints(documents, documents[partner])
    worst = np.minimum(canonical_scores(middle, live[first]), canonical_scores(middle, live[first[partner]]))
    return MorphScores(np.sort(worst)[::-1], canonical_scores(documents[owners], live), len(documents), data, date)
