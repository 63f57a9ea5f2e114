"""Which photos, of whom: folders, manifests and paths, with a line for everything that cannot be used."""

import inspect
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from faceid.vision import photo_list
from faceid.vision.photo_list import PersonPhoto, PhotoListError, photos_in, photos_of_manifest, photos_of_people


def told(photos: Iterable[PersonPhoto]) -> list[tuple[Path, str, str | None, str | None]]:
    return [(photo.path, photo.name, photo.external_id, photo.reason_code) for photo in photos]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_the_folders_name_is_the_persons_name_at_any_depth(tmp_path: Path) -> None:
    ann, deep, bob = (
        touch(tmp_path / "Ann Lee/2.jpg"),
        touch(tmp_path / "Ann Lee/1999/1"),
        touch(tmp_path / "Bob/x.png"),
    )
    assert told(photos_of_people(tmp_path)) == [
        (deep, "Ann Lee", None, None),
        (ann, "Ann Lee", None, None),
        (bob, "Bob", None, None),
    ]


def test_hidden_files_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path / "Ann/.DS_Store")
    touch(tmp_path / ".git/config")
    assert list(photos_of_people(tmp_path)) == []


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/old.jpg", "$RECYCLE.BIN/a.jpg", "__MACOSX/1.jpg"),
        *("Thumbs.db", "desktop.ini", "Picasa.ini", ".picasa.ini", ".DS_Store", "._1.jpg"),
        *("1.jpg.xmp", "1.XMP", "1.AAE"),
        *("@Recycle/old.jpg", "@Recently-Snapshot/GMT01/1.jpg", "Network Trash Folder/1.jpg"),
        *("1.jpg.json", "1.jpg.supplemental-metadata.json", "metadata.json", "1.jpg:Zone.Identifier"),
        *("Thumbs.db:encryptable", "digikam4.db", "thumbnails-digikam.db", "ZbThumbnail.info", "photothumb.db"),
        *("1.cos", "1.nks", "1.arp", "1.acr", "1.vrd", "~$1.jpg", "1.jpg.part", "1.jpg.crdownload"),
        *("CaptureOne/Cache/1.jpg.cot", "NKSC_PARAM/1.jpg.nksc", "iPod Photo Cache/1.ithmb"),
        *("f.npz", "f.npz.parts/1.npz", "f.npz.progress", "f.npz.progress-wal", "f.npz.failed.csv"),
    ],
)
def test_thumbnails_and_sidecars_are_passed_over_and_logged(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo = touch(tmp_path / "Ann/1.jpg")
    touch(tmp_path / "Ann" / name)
    touch(tmp_path / name)
    with caplog.at_level("INFO", logger="faceid"):
        assert told(photos_of_people(tmp_path)) == [(photo, "Ann", None, None)]
        assert [picture.path for picture in photos_in(tmp_path)] == [photo]
    first = name.split("/")[0]
    assert f"{tmp_path / 'Ann' / first}: passed over" in caplog.messages


@pytest.mark.parametrize("name", ["hans.arp", "Maria.Cos", "j.part"])
def test_people_are_not_passed_over_whose_names_end_as_a_sidecars_does(tmp_path: Path, name: str) -> None:
    photo = touch(tmp_path / name / "1.jpg")
    touch(tmp_path / name / "1.cos")
    assert told(photos_of_people(tmp_path)) == [(photo, name, None, None)]
    assert [picture.path for picture in photos_in(tmp_path)] == [photo]


def test_a_photo_named_by_itself_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    photo = touch(tmp_path / "@eaDir/1.jpg")
    assert [picture.path for picture in photos_in(photo)] == [photo]


def test_a_photo_outside_a_persons_folder_gets_its_line(tmp_path: Path) -> None:
    stray = touch(tmp_path / "stray.jpg")
    assert told(photos_of_people(tmp_path)) == [(stray, "", None, "not_in_a_persons_folder")]


def test_links_to_folders_are_reported_not_followed_and_links_to_files_are_followed(tmp_path: Path) -> None:
    photo = touch(tmp_path / "Ann/1.jpg")
    circle, link, loop = (tmp_path / "Ann" / name for name in ("circle", "link.jpg", "loop.jpg"))
    circle.symlink_to(tmp_path)
    link.symlink_to(photo)
    loop.symlink_to(loop)
    listed = {photo.path: photo.reason_code for photo in photos_of_people(tmp_path)}
    assert listed == {photo: None, circle: "linked_folder", link: None, loop: None}


def test_folders_deeper_than_calls_may_be_nested_are_searched(tmp_path: Path) -> None:
    photo = touch(tmp_path.joinpath(*["d"] * 200, "1.jpg"))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert [picture.path for picture in photos_in(tmp_path)] == [photo]
    finally:
        sys.setrecursionlimit(limit)


def test_an_entry_that_cannot_be_looked_at_is_one_picture_among_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network drives do not say what an entry is, and asking for it needs a permission."""

    class Hidden:
        name, path = "a", str(tmp_path / "a")

        def __fspath__(self) -> str:
            return self.path

        def is_dir(self, **_: bool) -> bool:
            raise PermissionError(13, "Permission denied")

    touch(tmp_path / "b")
    (seen,) = os.scandir(tmp_path)
    monkeypatch.setattr(os, "DirEntry", (Hidden, os.DirEntry))
    monkeypatch.setattr(photo_list, "_entries", lambda folder: [Hidden(), seen])
    assert [picture.path for picture in photos_in(tmp_path)] == [tmp_path / "a", tmp_path / "b"]


def test_paths_are_taken_as_given_and_folders_searched_to_the_bottom(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "d/a.jpg"), touch(tmp_path / "d/e/b.jpg")
    missing = tmp_path / "missing.jpg"
    listed = photos_in([missing, str(tmp_path / "d")])
    assert [(picture.path, picture.reason_code) for picture in listed] == [(missing, None), (a, None), (b, None)]
    assert [picture.path for picture in photos_in(a)] == [a]


@pytest.mark.parametrize("name", ["overlong" * 100, "a\0b", "file/below"])
def test_a_path_that_cannot_be_is_one_picture_among_the_others(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "file")
    listed = photos_in([tmp_path / name, tmp_path / "file"])
    assert [picture.path for picture in listed] == [tmp_path / name, tmp_path / "file"]


def test_a_manifest_names_people_and_tells_namesakes_apart(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text(
        'path,name,external_id\na.jpg,"Lee, Ann",7\n/abs/b.jpg,Ann,8\nc.jpg,Bob, \n', encoding="utf-8-sig"
    )
    assert told(photos_of_manifest(manifest)) == [
        (tmp_path / "a.jpg", "Lee, Ann", "7", None),
        (Path("/abs/b.jpg"), "Ann", "8", None),
        (tmp_path / "c.jpg", "Bob", None, None),
    ]


@pytest.mark.parametrize("between", [";", "\t"])
def test_a_manifest_may_be_as_spreadsheets_write_it_where_a_comma_is_the_decimal_point(
    tmp_path: Path, between: str
) -> None:
    lines = ["path,name,external_id", 'a.jpg,"Lee, Ann",7', "b.jpg,Bob,"]
    text = "\r\n".join(line.replace(", ", "@").replace(",", between).replace("@", ", ") for line in lines)
    (tmp_path / "people.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert told(photos_of_manifest(tmp_path / "people.csv")) == [
        (tmp_path / "a.jpg", "Lee, Ann", "7", None),
        (tmp_path / "b.jpg", "Bob", None, None),
    ]


@pytest.mark.parametrize("head", ["path, name, external_id", "Path,Name ,External ID", " path;\tname; EXTERNAL_ID"])
def test_blanks_and_capitals_in_a_manifests_head_mean_nothing(tmp_path: Path, head: str) -> None:
    """Without its column of ids, people who bear one name would become one person."""
    between = ", " if ", " in head else ";" if ";" in head else ","
    rows = [["a.jpg", '"Lee, Ann"', "7"], ["b.jpg", "Ann", "8"]]
    (tmp_path / "people.csv").write_text("\n".join([head, *map(between.join, rows)]))
    assert told(photos_of_manifest(tmp_path / "people.csv")) == [
        (tmp_path / "a.jpg", "Lee, Ann", "7", None),
        (tmp_path / "b.jpg", "Ann", "8", None),
    ]


def test_a_name_that_a_comma_takes_apart_is_one_failed_photo_and_not_another_name(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text("path,name\na.jpg,Lee, Ann\nb.jpg,Bob,, \nc.jpg,Bob,\n")
    assert [photo.reason_code for photo in photos_of_manifest(manifest)] == ["too_many_cells", None, None]


def test_an_incomplete_row_is_one_failed_photo(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text("path,name\na.jpg\n,Ann\nb.jpg,Bob\n")
    assert [photo.reason_code for photo in photos_of_manifest(manifest)] == [
        "incomplete_row",
        "incomplete_row",
        None,
    ]


@pytest.mark.parametrize("content", [b"photo,person\na,b\n", b"", b"path,name\n\xff\xfe,x\n"])
def test_a_manifest_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_bytes(content)
    with pytest.raises(PhotoListError, match=r"people\.csv"):
        photos_of_manifest(manifest)


def test_a_manifest_with_a_column_twice_is_refused_by_name(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text("path,name,name\na.jpg,Ann,Bob\n")
    with pytest.raises(PhotoListError, match=r"people\.csv: several columns name; keep one"):
        photos_of_manifest(manifest)
    manifest.write_text("path,name,,\na.jpg,Ann,,\n")
    assert [photo.name for photo in photos_of_manifest(manifest)] == ["Ann"]


def test_a_folder_that_is_not_there_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PhotoListError, match="nowhere: not a readable folder"):
        photos_of_people(tmp_path / "nowhere")
