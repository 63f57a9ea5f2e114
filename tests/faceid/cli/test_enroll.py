"""`faceid enroll`: one line per photo, only what is new, nothing lost."""

import csv
import errno
import hashlib
import io
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceid import engine
from indexer.gallery import Gallery
from tests.faceid.cli.conftest import Run, first_photos

MODEL = ("--model", "mobilefacenet", "--faces", "centre")


@pytest.fixture
def people(lfw_people: Path, tmp_path: Path) -> Path:
    return first_photos(lfw_people, tmp_path / "people", sorted(path.name for path in lfw_people.iterdir())[:3])


def test_each_photo_is_enrolled_under_its_folders_name(run: Run, people: Path, tmp_path: Path) -> None:
    outcome = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json")
    assert outcome.code == 0
    assert [record["name"] for record in outcome.records] == sorted(path.name for path in people.iterdir())
    assert {record["status"] for record in outcome.records} == {"enrolled"}
    assert set(outcome.records[0]) == {
        "schema_version",
        "source",
        "name",
        "external_id",
        "status",
        "reason_codes",
        "template_id",
    }


def test_enrolling_again_changes_nothing_and_new_photos_are_added(
    run: Run, people: Path, lfw_people: Path, tmp_path: Path
) -> None:
    run("enroll", people, "--gallery", tmp_path / "g", *MODEL)
    name = min(path.name for path in people.iterdir())
    shutil.copy(lfw_people / name / f"{name}_0002.jpg", people / name)
    records = run("enroll", people, "--gallery", tmp_path / "g", "--faces", "centre", "--json").records
    assert [record["status"] for record in records] == [
        "already_enrolled",
        "enrolled",
        "already_enrolled",
        "already_enrolled",
    ]
    (stats,) = run("gallery", "stats", "--gallery", tmp_path / "g", "--json").records
    assert (stats["identities"], stats["templates"]) == (3, 4)


def test_a_moved_photo_is_known_by_its_bytes(run: Run, people: Path, tmp_path: Path) -> None:
    run("enroll", people, "--gallery", tmp_path / "g", *MODEL)
    photo = next(people.glob("*/*.jpg"))
    photo.rename(photo.with_name("renamed.jpg"))
    records = run("enroll", people, "--gallery", tmp_path / "g", "--faces", "centre", "--sync", "--json").records
    assert {record["status"] for record in records} == {"already_enrolled"}


def test_one_photo_under_two_names_is_refused_the_second_time(run: Run, people: Path, tmp_path: Path) -> None:
    photo = next(people.glob("*/*.jpg"))
    (people / "Zoe").mkdir()
    shutil.copy(photo, people / "Zoe")
    records = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json").records
    (zoe,) = (record for record in records if record["name"] == "Zoe")
    assert (zoe["status"], zoe["reason_codes"]) == ("rejected", ["enrolled_as_someone_else"])


def test_sync_reports_gone_photos_and_prune_removes_them(run: Run, people: Path, tmp_path: Path) -> None:
    run("enroll", people, "--gallery", tmp_path / "g", *MODEL)
    gone = min(people.glob("*/*.jpg"))
    gone.unlink()
    gallery = ("--gallery", tmp_path / "g")
    reported = run("enroll", people, *gallery, "--faces", "centre", "--sync", "--json").records[-1]
    assert (reported["status"], reported["source"]) == ("photo_gone", str(gone))
    assert run("gallery", "stats", *gallery, "--json").records[0]["templates"] == 3
    pruned = run("enroll", people, *gallery, "--faces", "centre", "--sync", "--prune", "--json").records[-1]
    assert pruned["status"] == "pruned"
    assert run("gallery", "stats", *gallery, "--json").records[0]["templates"] == 2


def test_what_could_not_be_read_is_not_gone_and_an_empty_folder_prunes_nobody(
    run: Run, people: Path, tmp_path: Path
) -> None:
    gallery = ("--gallery", tmp_path / "g")
    run("enroll", people, *gallery, *MODEL)
    unread = min(people.glob("*/*.jpg"))
    unread.write_bytes(b"")
    prune = ("--faces", "centre", "--sync", "--prune", "--json")
    records = run("enroll", people, *gallery, *prune).records
    assert [one["status"] for one in records] == ["failed", "already_enrolled", "already_enrolled"]
    people.rename(tmp_path / "elsewhere")
    people.mkdir()  # as where a disk is not mounted
    for marks in ([], ["NOT MOUNTED.txt"]):
        for mark in marks:
            (people / mark).write_text("the disk goes here")
        refused = run("enroll", people, *gallery, *prune)
        assert (refused.code, [one["status"] for one in refused.records]) == (1, ["failed"] * len(marks))
        assert "holds no photo that is enrolled, and 3 templates came" in " ".join(refused.stderr.split())
    assert run("gallery", "stats", *gallery, "--json").records[0]["templates"] == 3


def test_sync_knows_a_folder_however_it_is_named(run: Run, people: Path, tmp_path: Path) -> None:
    gallery = ("--gallery", tmp_path / "g", "--json")
    (tmp_path / "link").symlink_to(people)
    run("enroll", tmp_path / "link", *gallery, *MODEL)
    gone = min(people.glob("*/*.jpg"))
    gone.unlink()
    for name in (people, Path("people"), tmp_path / "g" / ".." / "people", tmp_path / "link"):
        assert run("enroll", name, *gallery, "--faces", "centre", "--sync").records[-1]["status"] == "photo_gone"


def test_a_clip_that_is_there_is_not_gone(run: Run, people: Path, tmp_path: Path) -> None:
    at = ("--gallery", tmp_path / "g")
    run("enroll", people, *at, *MODEL)
    photo = min(people.glob("*/*.jpg"))
    (clip := photo.with_name("a.mp4")).write_bytes(b"no photo")
    with Gallery.open(tmp_path / "g", writable=True) as gallery:  # as `enroll --video` names what it takes
        (known,) = gallery.enrolled([hashlib.sha256(photo.read_bytes()).digest()]).values()
        gallery.note_places({known[0].template_id: f"{clip}#t=1.250"})
    photo.unlink()
    sync = ("enroll", people, *at, "--faces", "centre", "--sync", "--json")
    assert [one["status"] for one in run(*sync).records] == ["failed", "already_enrolled", "already_enrolled"]
    clip.unlink()
    assert run(*sync).records[-1]["status"] == "photo_gone"


def test_a_removed_person_stays_removed_until_restored(run: Run, people: Path, tmp_path: Path) -> None:
    gallery = ("--gallery", tmp_path / "g")
    run("enroll", people, *gallery, *MODEL)
    name = min(path.name for path in people.iterdir())
    assert run("gallery", "remove", name, *gallery).code == 0
    again = run("enroll", people, *gallery, "--faces", "centre", "--json").records[0]
    assert (again["status"], again["reason_codes"]) == ("rejected", ["removed"])
    restored = run("enroll", people, *gallery, "--faces", "centre", "--restore", "--json").records[0]
    assert restored["status"] == "enrolled"
    assert name in [record["name"] for record in run("gallery", "list", *gallery, "--json").records]


def test_a_manifest_tells_two_namesakes_apart(run: Run, people: Path, tmp_path: Path) -> None:
    photos = sorted(people.glob("*/*.jpg"))
    manifest = tmp_path / "people.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "name", "external_id"], [photos[0], "Ann", 1], [photos[1], "Ann", 2]])
    assert run("enroll", "--manifest", manifest, "--gallery", tmp_path / "g", *MODEL).code == 0
    listed = run("gallery", "list", "--gallery", tmp_path / "g", "--json").records
    assert [(record["name"], record["external_id"]) for record in listed] == [("Ann", "1"), ("Ann", "2")]
    refused = run("gallery", "rename", "Ann", "Anne", "--gallery", tmp_path / "g")
    assert refused.code == 1
    assert "several people are called 'Ann'" in refused.stderr


def test_two_people_under_one_external_id_are_told(run: Run, people: Path, tmp_path: Path) -> None:
    photos = sorted(people.glob("*/*.jpg"))
    manifest, at = tmp_path / "people.csv", ("--gallery", tmp_path / "g")
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "name", "external_id"], [photos[0], "Bob", 1], [photos[1], "Eve", 1]])
    first = run("enroll", "--manifest", manifest, *at, *MODEL, "--json").records
    again = run("enroll", "--manifest", manifest, *at, "--json").records
    assert [(one["name"], one["status"], one["reason_codes"]) for one in first] == [
        ("Bob", "enrolled", []),
        ("Bob", "enrolled", ["known_by_another_name"]),
    ]
    assert [(one["name"], one["reason_codes"]) for one in again] == [
        ("Bob", []),
        ("Bob", ["known_by_another_name"]),
    ]


def test_no_name_becomes_a_path_and_an_overlong_one_fails(run: Run, people: Path, tmp_path: Path) -> None:
    photos = sorted(people.glob("*/*.jpg"))
    manifest = tmp_path / "people.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = [(photos[0], "../../outside"), (photos[1], "n" * 300), (photos[2], '😀 O\'Hara "Bo"')]
        csv.writer(file).writerows([("path", "name"), *rows])
    before = set(tmp_path.rglob("*"))
    outcome = run("enroll", "--manifest", manifest, "--gallery", tmp_path / "g", *MODEL, "--json")
    assert outcome.code == 3
    assert [record["status"] for record in outcome.records] == ["enrolled", "failed", "enrolled"]
    assert outcome.records[1]["reason_codes"] == ["invalid_name"]
    assert all(path.is_relative_to(tmp_path / "g") for path in set(tmp_path.rglob("*")) - before)
    names = [record["name"] for record in run("gallery", "list", "--gallery", tmp_path / "g", "--json").records]
    assert names == ["../../outside", '😀 O\'Hara "Bo"']


def test_csv_has_the_same_columns_as_json(run: Run, people: Path, tmp_path: Path) -> None:
    outcome = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.stdout)))
    assert list(rows[0]) == ["schema_version", "source", "name", "external_id", "status", "reason_codes", "template_id"]
    assert len(rows) == 3


def test_a_face_below_the_quality_limits_is_rejected_unless_asked(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    photo = next(lfw_people.glob("*/*.jpg"))
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    Image.open(photo).resize((64, 64), Image.Resampling.BOX).save(tmp_path / "people" / "Ann" / "small.png")
    arguments = ("enroll", tmp_path / "people", "--gallery", tmp_path / "g", *MODEL, "--json")
    (rejected,) = run(*arguments).records
    assert (rejected["status"], "face_too_small" in rejected["reason_codes"]) == ("rejected", True)
    (remembered,) = run(*arguments).records
    assert remembered["reason_codes"] == [*rejected["reason_codes"], "remembered"]
    assert run(*arguments, "--again").records == [rejected]
    (accepted,) = run(*arguments, "--no-quality").records
    assert accepted["status"] == "enrolled"


def test_several_faces_are_rejected_by_default(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    photos = sorted(lfw_people.glob("*/*_0001.jpg"))[:2]
    both = np.hstack([np.asarray(Image.open(photo)) for photo in photos])
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    Image.fromarray(both).save(tmp_path / "people" / "Ann" / "both.png")
    outcome = run("enroll", tmp_path / "people", "--gallery", tmp_path / "g", "--model", "mobilefacenet", "--json")
    assert outcome.code == 0
    assert outcome.records[0]["reason_codes"] == ["several_faces"]


def hostile_folder(good_photo: Path, folder: Path) -> int:
    """Fill a folder with everything that breaks photo programs; return the number of files."""
    ann = folder / "Ann"
    ann.mkdir(parents=True)
    good = Image.open(good_photo)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    (ann / "empty.jpg").touch()
    (ann / "truncated.jpg").write_bytes(good_photo.read_bytes()[:3000])
    (ann / "text.jpg").write_text("not a photo")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    (ann / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"x"))
    Image.new("RGB", (1, 1)).save(ann / "dot.png")
    Image.new("RGB", (3000, 5)).save(ann / "line.png")
    good.save(ann / "animated.webp", save_all=True, append_images=[good.rotate(90)])
    good.convert("CMYK").save(ann / "cmyk.jpg")
    good.convert("L").save(ann / "grey.png")
    deep = np.asarray(good.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(ann / "deep.png")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        good.save(ann / f"exif{orientation}.jpg", exif=exif, quality=80 + orientation)
    for name in ("new\nline.jpg", "quo\"te'.jpg", "..", "😀.jpg", "n" * 250 + ".jpg"):
        shutil.copy(good_photo, ann / name) if name != ".." else None
    (ann / "loop.jpg").symlink_to(ann / "loop.jpg")
    (ann / "circle").symlink_to(folder)
    os.mkfifo(ann / "pipe.jpg")
    (folder / "na\nme").mkdir()
    shutil.copy(good_photo, folder / "na\nme" / "a.jpg")
    (folder / os.fsdecode(b"\xff\xfe")).mkdir()
    shutil.copy(good_photo, folder / os.fsdecode(b"\xff\xfe") / "a.jpg")
    shutil.copy(good_photo, folder / "stray.jpg")
    return sum(len(files) + sum((Path(root) / d).is_symlink() for d in dirs) for root, dirs, files in os.walk(folder))


def test_hostile_input_gets_its_lines_and_the_rest_is_done(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    files = hostile_folder(next(lfw_people.glob("*/*_0001.jpg")), tmp_path / "people")
    outcome = run("enroll", tmp_path / "people", "--gallery", tmp_path / "g", *MODEL, "--json")
    assert outcome.code == 3
    assert len(outcome.records) == files
    results = {Path(record["source"]).name: (record["status"], record["reason_codes"]) for record in outcome.records}
    assert results["empty.jpg"] == ("failed", ["empty"])
    assert results["text.jpg"] == ("failed", ["not_an_image"])
    assert results["truncated.jpg"] == ("failed", ["unreadable"])
    assert results["bomb.png"] == ("failed", ["too_large"])
    assert results["animated.webp"] == ("failed", ["animated"])
    assert results["loop.jpg"] == results["pipe.jpg"] == ("failed", ["unreadable"])
    assert results["circle"] == ("failed", ["linked_folder"])
    assert results["stray.jpg"] == ("failed", ["not_in_a_persons_folder"])
    assert results["dot.png"] == results["line.png"] == ("rejected", ["no_face"])
    for usable in ("cmyk.jpg", "grey.png", "deep.png", "exif1.jpg", "exif2.jpg", "new\nline.jpg"):
        assert results[usable][0] == "enrolled", usable
    by_name = {record["name"]: record for record in outcome.records}
    assert by_name["na\nme"]["reason_codes"] == ["invalid_name"]
    assert run("gallery", "check", "--gallery", tmp_path / "g").code == 0


def test_the_table_does_not_obey_what_a_name_contains(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    shutil.copy(next(lfw_people.glob("*/*_0001.jpg")), tmp_path / "people" / "Ann" / "a\n\x1b[31mb.jpg")
    outcome = run("enroll", tmp_path / "people", "--gallery", tmp_path / "g", *MODEL)
    assert "\\n\\x1b[31mb.jpg" in outcome.stdout
    assert "\x1b" not in outcome.stdout


@pytest.mark.parametrize("arguments", [(), ("--manifest", "m.csv", "people"), ("people", "--prune"), ("nowhere",)])
def test_wrong_usage_is_exit_code_two(run: Run, people: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "m.csv").write_text("path,name\n")
    assert run("enroll", *arguments, "--gallery", tmp_path / "g").code == 2


def test_a_locked_gallery_is_exit_code_six(run: Run, gallery: Path, people: Path) -> None:
    from indexer.gallery import Gallery

    with Gallery.open(gallery, writable=True):
        outcome = run("enroll", people, "--gallery", gallery)
    assert outcome.code == 6
    assert str(gallery) in outcome.stderr


def test_the_photos_of_one_person_are_enrolled_by_name(run: Run, people: Path, tmp_path: Path) -> None:
    name = min(path.name for path in people.iterdir())
    gallery = ("--gallery", tmp_path / "g")
    (record,) = run("enroll", people / name, "--name", "Ann Lee", *gallery, *MODEL, "--json").records
    assert (record["status"], record["name"]) == ("enrolled", "Ann Lee")
    photos = sorted(people.glob("*/*.jpg"))[1:]
    records = run("enroll", "--name", "Ann Lee", *photos, *gallery, "--faces", "centre", "--json").records
    assert [record["status"] for record in records] == ["enrolled"] * len(photos)
    assert [one["templates"] for one in run("gallery", "list", *gallery, "--json").records] == [1 + len(photos)]


@pytest.mark.parametrize("arguments", [("--name", "Ann"), ("--name", "Ann", "--manifest", "m.csv"), ("a.jpg",)])
def test_a_name_goes_with_photos_and_photos_with_a_name(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "m.csv").write_text("path,name\n")
    (tmp_path / "a.jpg").touch()
    assert run("enroll", *arguments, "--gallery", tmp_path / "g").code == 2


def test_what_is_stored_is_counted_though_the_output_fails_and_nothing_more_is_taken_in(
    run: Run, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(results: Iterable[object], *settings: object, **named: object) -> None:
        next(iter(results))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(engine, "BATCH_PHOTOS", 2)
    with monkeypatch.context() as patch:
        patch.setattr("faceid.cli.enroll.write_records", full)
        outcome = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json")
    assert outcome.code == 1
    assert "2 enrolled" in outcome.stderr
    assert len(run("gallery", "list", "--gallery", tmp_path / "g", "--json").records) == 2
    rest = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json").records
    assert sorted(record["status"] for record in rest) == ["already_enrolled", "already_enrolled", "enrolled"]
