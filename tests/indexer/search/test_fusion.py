"""What the templates of a person are searched as."""

import numpy as np
import pytest

from indexer.records import Embeddings
from indexer.search import fusion
from indexer.search.fusion import fuse
from tests.indexer.made_up_people import unit_vectors


@pytest.fixture
def crowd():
    """Fifty people of one to nine templates, in no order."""
    owners = np.random.default_rng(2).integers(1, 51, 250)
    return Embeddings(np.arange(250), owners, unit_vectors(250))


def test_with_max_the_templates_themselves(crowd):
    part = fuse(crowd, "max")
    assert part.segment.ids.tolist() == list(range(250))
    assert part.segment.vectors[:].tobytes() == crowd.vectors.tobytes()
    assert part.owners.tolist() == crowd.identity_ids.tolist()


def test_with_mean_the_direction_of_each_persons_mean(crowd, monkeypatch):
    monkeypatch.setattr(fusion, "_PEOPLE", 7)
    part = fuse(crowd, "mean")
    assert part.segment.ids.tolist() == part.owners.tolist() == sorted(set(crowd.identity_ids.tolist()))
    for person, row in zip(part.owners, part.segment.vectors[:], strict=True):
        mean = crowd.vectors[crowd.identity_ids == person].astype(np.float64).mean(axis=0)
        assert np.allclose(row, mean / np.linalg.norm(mean), atol=1e-7)


def test_a_persons_mean_is_the_same_to_the_bit_whoever_is_computed_with_it(crowd):
    together = fuse(crowd, "mean")
    for person, row in zip(together.owners, together.segment.vectors[:], strict=True):
        its = crowd.identity_ids == person
        alone = fuse(Embeddings(crowd.template_ids[its], crowd.identity_ids[its], crowd.vectors[its]), "mean")
        assert alone.segment.vectors[:][0].tobytes() == row.tobytes()


def test_templates_that_cancel_each_other_out_are_searched_as_the_first_of_them():
    (vector,) = unit_vectors(1)
    part = fuse(Embeddings(np.array([1, 2]), np.array([5, 5]), np.stack([vector, -vector])), "mean")
    assert part.segment.vectors[:].tobytes() == vector.tobytes()


def test_of_nobody_there_is_no_row():
    nobody = Embeddings(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 16), np.float32))
    assert len(fuse(nobody, "mean")) == 0
