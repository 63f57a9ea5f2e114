"""The photos of a list are found among the features by their files' names, wherever the files lie."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import rows_of_photos
from faceid.feature_set import FeatureSet, feature_set


def features_of(*paths: str) -> FeatureSet:
    return feature_set(np.eye(len(paths), dtype=np.float32), np.full(len(paths), ""), np.array(paths), Path("f.npz"))


def test_photos_are_known_by_name_whatever_the_folder_the_ending_and_the_order() -> None:
    features = features_of("x/Bob_0001.png", "Ann_0001.jpg", "deep/er/Cy_0001.jpg")
    assert rows_of_photos(features, ["Ann_0001", "Bob_0001", "Eve_0001"]).tolist() == [1, 0, -1]


def test_a_photo_with_two_rows_is_refused_but_only_if_it_is_asked_for() -> None:
    features = features_of("Ann_0001.jpg", "Bob_0001.jpg", "Ann_0001.jpg")
    assert rows_of_photos(features, ["Bob_0001"]).tolist() == [1]
    with pytest.raises(ProtocolError, match="Ann_0001 has more than one row; embed one face of each photo"):
        rows_of_photos(features, ["Ann_0001", "Bob_0001"])
    features = features_of("lfw/Ann_0001.jpg", "Bob_0001.jpg", "small/Ann_0001.png")
    with pytest.raises(ProtocolError, match=r"lfw/Ann_0001\.jpg and small/Ann_0001\.png are called alike"):
        rows_of_photos(features, ["Ann_0001", "Bob_0001"])


def test_half_of_the_photos_may_be_missing_and_no_more() -> None:
    features = features_of("Ann_0001.jpg", "Bob_0001.jpg")
    assert rows_of_photos(features, ["Ann_0001", "Cy_0001"]).tolist() == [0, -1]
    with pytest.raises(ProtocolError, match="2 of the 3 photos of the list are not in it, the first Cy_0001"):
        rows_of_photos(features, ["Ann_0001", "Cy_0001", "Dan_0001"])
