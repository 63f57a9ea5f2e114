"""The zoo: photos as people have them come in as they look, and files that are none are refused with the reason."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from faceid.vision.images import ImageError, read_photo
from tests.faceid.vision.zoo import Animal, zoo

ANIMALS = list(zoo())


@pytest.fixture(autouse=True)
def _nobody_warns() -> Iterator[None]:
    """What Pillow thinks of odd metadata is nothing to tell whoever looks at a photo."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_zoo_is_large_and_everyone_has_a_name_of_his_own() -> None:
    assert len({animal.name for animal in ANIMALS}) == len(ANIMALS) >= 150


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_what_comes_of_a_photo(animal: Animal, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(animal.data)
    if animal.picture is None:
        with pytest.raises(ImageError) as caught:
            read_photo(path)
        assert caught.value.reason_code == animal.reason_code, caught.value
        assert str(path) in str(caught.value)
        return
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == animal.picture.shape
    off = np.abs(photo.pixels.astype(int) - animal.picture).mean()
    assert off <= animal.off
    assert photo.remarks == animal.remarks
