"""Another model needs the photos again: moved ones are found by their bytes, pruned ones are not missed."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from faceid import FaceEngine, Gallery, photos_of_people
from faceid.reembedding import reembed_gallery
from faceid.vision import images
from faceid.vision.apart import DecodeFailed
from faceid.vision.decoding import Pixels
from indexer.errors import GalleryError


@pytest.fixture(scope="module")
def other_engine() -> FaceEngine:
    return FaceEngine("sphereface-scratch")


@pytest.fixture
def people(drawn_people: Path, tmp_path: Path) -> Path:
    for person in ("person-0001", "person-0002"):
        shutil.copytree(drawn_people / person, tmp_path / "people" / person)
    return tmp_path / "people"


@pytest.fixture
def gallery(shipped_engine: FaceEngine, people: Path, tmp_path: Path) -> Gallery:
    with Gallery.open(tmp_path / "g", create=shipped_engine.binding) as gallery:
        shipped_engine.enroll(gallery, photos_of_people(people))
        yield gallery


def sources(gallery: Gallery) -> list[str]:
    return [one.source for one in gallery.templates()]


def test_enrolling_a_moved_folder_again_notes_the_new_places(
    shipped_engine: FaceEngine, other_engine: FaceEngine, gallery: Gallery, people: Path
) -> None:
    moved = people.rename(people.with_name("moved"))
    again = shipped_engine.enroll(gallery, photos_of_people(moved))
    assert {one.status for one in again} == {"already_enrolled"}
    assert sources(gallery) == [str(photo.path) for photo in photos_of_people(moved)]
    assert reembed_gallery(other_engine, gallery, drop_missing=False).photos == []
    assert gallery.model == other_engine.binding
    assert gallery.check(deep=True) == []


def test_photos_whose_names_are_no_utf_8_are_where_they_are(
    shipped_engine: FaceEngine, other_engine: FaceEngine, gallery: Gallery, people: Path
) -> None:
    """As in archives of years ago, in Latin-1: a gallery notes their places as text."""
    old = people.rename(os.fsdecode(bytes(people.parent) + b"/M\xfcller"))
    shipped_engine.enroll(gallery, photos_of_people(old))
    revision = gallery.revision
    shipped_engine.enroll(gallery, photos_of_people(old))
    assert gallery.revision == revision, "nothing was moved"
    root = people.with_name("archive")
    root.mkdir()
    old.rename(root / old.name)
    assert reembed_gallery(other_engine, gallery, drop_missing=True, photos_root=root).photos == []
    assert len(sources(gallery)) == 6
    assert {Path(one).parent.parent.name for one in sources(gallery)} == {r"M\xfcller"}


def test_a_stored_place_that_no_system_can_look_at_is_noted_anew(
    shipped_engine: FaceEngine, gallery: Gallery, people: Path
) -> None:
    """A gallery made elsewhere, or by uploads, may hold any text there."""
    gallery.note_places({one.id: f"{one.id}" * 5000 for one in gallery.templates()})
    shipped_engine.enroll(gallery, photos_of_people(people))
    assert sources(gallery) == [str(photo.path) for photo in photos_of_people(people)]


def test_a_second_copy_does_not_take_the_place_of_the_first(
    shipped_engine: FaceEngine, gallery: Gallery, people: Path
) -> None:
    before, revision = sources(gallery), gallery.revision
    shutil.copytree(people, people.with_name("copy"))
    shipped_engine.enroll(gallery, photos_of_people(people.with_name("copy")))
    assert (sources(gallery), gallery.revision) == (before, revision)


def test_moved_photos_are_found_below_a_root_by_the_ends_of_their_paths_and_their_bytes(
    other_engine: FaceEngine, gallery: Gallery, people: Path, tmp_path: Path
) -> None:
    first = people / "person-0001" / "1.jpg"
    root = tmp_path / "archive"
    shutil.move(people, root / "2026" / "people")
    first.parent.mkdir(parents=True)
    shutil.copy(root / "2026/people/person-0002/1.jpg", first)  # another photo, where the first one was
    assert len(reembed_gallery(other_engine, gallery, drop_missing=False).photos) == 6
    assert reembed_gallery(other_engine, gallery, drop_missing=False, photos_root=root / "2026").photos == []
    assert sources(gallery) == [str(photo.path) for photo in photos_of_people(root / "2026" / "people")]


def test_what_was_pruned_and_is_gone_is_no_obstacle(other_engine: FaceEngine, gallery: Gallery) -> None:
    pruned, kept = list(gallery.templates())[:2]
    gallery.remove_templates([pruned.id, kept.id])
    Path(pruned.source).unlink()
    lost = reembed_gallery(other_engine, gallery, drop_missing=False)
    assert ([one.id for one in lost.pruned], lost.photos) == ([pruned.id], [])
    gallery.undo()
    assert [one.id for one in gallery.templates()] == [2, 3, 4, 5, 6]


def test_a_removed_persons_missing_photo_is_an_obstacle(other_engine: FaceEngine, gallery: Gallery) -> None:
    first = next(gallery.templates())
    gallery.remove(first.identity_id)
    Path(first.source).unlink()
    assert [one.id for one in reembed_gallery(other_engine, gallery, drop_missing=False).photos] == [first.id]


@pytest.mark.parametrize("trouble", ["decoding", "opening"])
def test_what_cannot_be_read_is_not_gone_and_is_not_dropped(
    other_engine: FaceEngine, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    first, second, *_ = gallery.templates()
    Path(second.source).unlink()
    with monkeypatch.context() as patched:
        if trouble == "decoding":  # a plugin or the memory for it lacks here
            real = images.decode_bytes
            of_first = Path(first.source).read_bytes()

            def decode(data: bytes) -> Pixels:
                if data == of_first:
                    raise DecodeFailed("needs_plugin", "HEIC needs a plugin")
                return real(data)

            patched.setattr(images, "decode_bytes", decode)
        else:
            patched.setattr(images, "open_regular", _refusing(first.source))
        lost = reembed_gallery(other_engine, gallery, drop_missing=True)
    assert [one.id for one, _ in lost.unread] == [first.id]
    assert [one.id for one in lost.photos] == [second.id]
    assert gallery.model != other_engine.binding
    assert reembed_gallery(other_engine, gallery, drop_missing=True).unread == []
    assert [one.id for one in gallery.templates()] == [1, 3, 4, 5, 6]


def _refusing(source: str) -> Any:
    real = images.open_regular

    def opened(path: Path, **how: Any) -> Any:
        if str(path) == source:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **how)

    return opened


def test_a_disk_that_is_not_mounted_drops_nobody(other_engine: FaceEngine, gallery: Gallery, people: Path) -> None:
    away = people.rename(people.with_name("away"))
    with pytest.raises(GalleryError, match="of 6 photos none is where it was: is the disk mounted"):
        reembed_gallery(other_engine, gallery, drop_missing=True)
    assert len(list(gallery.templates())) == 6
    away.rename(people)
    Path(next(gallery.templates()).source).unlink()
    assert len(reembed_gallery(other_engine, gallery, drop_missing=False).photos) == 1
    assert len(reembed_gallery(other_engine, gallery, drop_missing=True).photos) == 1
    assert len(list(gallery.templates())) == 5
