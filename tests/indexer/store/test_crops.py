"""Pictures of faces: kept where asked for, under a checksum, gone with their person."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from indexer.errors import GalleryError, StoreDamaged
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate

BINDING = ModelBinding("toy", "0" * 64, 4)
JPEG = b"\xff\xd8\xff\xe0 a face, and nobody else's: 7f3a"


def face(name: str, number: int, crop: bytes | None = JPEG) -> NewTemplate:
    vector = np.eye(4, dtype=np.float32)[number % 4]
    return NewTemplate(name, None, vector, f"{number}.jpg", bytes([number]) * 32, None, None, None, "float32", crop)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    opened = Gallery.open(tmp_path / "gallery", create=BINDING)
    opened.add([face("ada", 1), face("ada", 2, None), face("grace", 3)])
    return opened


def test_a_picture_is_kept_with_its_template_alone(gallery: Gallery) -> None:
    with gallery:
        assert [gallery.crop(template) for template in (1, 2, 3, 9)] == [JPEG, None, JPEG, None]
        assert gallery.with_crops([1, 2, 3]) == {1: [1], 2: [3]}
        assert gallery.check(deep=True) == []


def test_it_follows_a_merge_and_comes_back_with_its_undo(gallery: Gallery) -> None:
    with gallery:
        gallery.merge(2, 1)
        assert gallery.with_crops([1, 2]) == {1: [1, 3]}
        gallery.undo()
        assert gallery.with_crops([1, 2]) == {1: [1], 2: [3]}
        assert gallery.check() == []


def test_erasing_a_person_leaves_no_byte_of_it_in_any_file(gallery: Gallery, tmp_path: Path) -> None:
    with gallery:
        gallery.erase(2)
        assert gallery.crop(1) == JPEG
        gallery.erase(1)
        assert gallery.check(deep=True) == []
    for file in (tmp_path / "gallery").rglob("*"):
        assert not file.is_file() or b"nobody else's: 7f3a" not in file.read_bytes(), file


@pytest.mark.parametrize("way", [pytest.param("backup", marks=pytest.mark.folder), "merge_from", "export"])
def test_it_goes_where_its_template_goes_and_is_erased_there_too(gallery: Gallery, tmp_path: Path, way: str) -> None:
    with gallery:
        gallery.remove(2)
        if way == "backup":
            gallery.backup(tmp_path / "copy")
        gallery.export(tmp_path / "all.parquet")
    with Gallery.open(tmp_path / "copy", create=BINDING) as copy:
        if way == "merge_from":
            copy.merge_from(tmp_path / "gallery")
        elif way == "export":
            copy.import_(tmp_path / "all.parquet")
            copy.import_(tmp_path / "all.parquet")
        assert [copy.crop(template) for template in (1, 2, 3)] == [JPEG, None, JPEG]
        assert copy.check(deep=True) == []
        copy.erase(1)
        copy.erase(2)
    for file in (tmp_path / "copy").rglob("*"):
        assert not file.is_file() or b"nobody else's: 7f3a" not in file.read_bytes(), file


@pytest.mark.slow
def test_an_export_that_would_unpack_to_a_million_pictures_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    large = JPEG + bytes(60_000)
    with gallery:
        for number in range(4, 200):
            gallery.add([face(f"one {number}", number, large)])
        gallery.export(tmp_path / "all.parquet")
    with Gallery.open(tmp_path / "copy", create=BINDING) as copy, pytest.raises(GalleryError, match="far more"):
        copy.import_(tmp_path / "all.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["UPDATE crop SET jpeg = x'ffd8ff00'", "DELETE FROM crop WHERE template_id = 1"])
def test_check_notices_a_picture_that_was_changed_or_is_gone(gallery: Gallery, change: str) -> None:
    with gallery:
        with gallery._database.write() as connection:
            connection.execute(text(change))
        assert gallery.check() != []
        if change.startswith("UPDATE"):
            with pytest.raises(StoreDamaged):
                gallery.crop(1)


def test_what_is_no_small_jpeg_is_refused_and_nothing_is_added(gallery: Gallery) -> None:
    with gallery:
        for wrong in (b"GIF89a", b"", JPEG + bytes(2**16)):
            with pytest.raises(GalleryError, match="no small JPEG"):
                gallery.add([face("eve", 5, wrong)])
        assert gallery.size == 2
