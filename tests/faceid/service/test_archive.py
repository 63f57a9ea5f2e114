"""Zip files from strangers: bombs, lies, paths and locks are told from photos before anything is unpacked."""

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from faceid.service.archive import check_archive, packed_photos
from faceid.service.problems import Problem

PHOTO = b"\xff\xd8\xff" + bytes(range(256)) * 4


def written(folder: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "people.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_photos_come_with_the_folder_they_lie_in(tmp_path: Path) -> None:
    path = written(tmp_path, {"b/Ada/1.jpg": PHOTO, "a.jpg": PHOTO, "b/.hidden/1.jpg": PHOTO, "b/Ada/thumbs.db": b"x"})
    assert check_archive(path, 10) == 2
    found = list(packed_photos(path, 10_000))
    assert [(one.name, one.folder, one.data) for one in found] == [("a.jpg", "", PHOTO), ("b/Ada/1.jpg", "Ada", PHOTO)]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "C:\\x\\y.jpg", "x\u202egpj.exe"])
def test_a_name_in_an_archive_opens_nothing(tmp_path: Path, name: str) -> None:
    (one,) = packed_photos(written(tmp_path, {name: PHOTO}), 10_000)
    assert one.data == PHOTO
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["people.zip"]


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, {"a/1.jpg": PHOTO})
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    (one,) = packed_photos(path, len(PHOTO) - 1)
    assert (one.data, one.reason_code) == (b"", "too_large")


def test_a_member_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path, {"a/1.jpg": bytes(5_000_000)}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes().replace(struct.pack("<L", 5_000_000), struct.pack("<L", 100))
    path.write_bytes(data)
    (one,) = packed_photos(path, 1000)
    assert one.data == b""
    assert one.reason_code in ("unreadable", "too_large")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no zip"),
        (b"not a zip file", "no zip"),
        (PHOTO, "no zip"),
        (b"PK\x05\x06" + bytes(18), "no photo"),
        (b"PK\x05\x06" + bytes(17), "no zip"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 46, 0, 0), "zip64"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, 0xFFFFFFFF, 0, 0), "zip64"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 60000, 60000, 0x7FFFFFFF, 0, 0), "too long"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, 46, 999_999, 0), "no zip"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(Problem) as refused:
        check_archive(path, 10)
    assert refused.value.code == "bad_archive"
    assert words in refused.value.detail


@pytest.mark.parametrize("comment", [b"", b"x" * 65_535])
def test_a_list_whose_length_only_zip64_tells_is_bounded_too(tmp_path: Path, comment: bytes) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 20_000
    size = count * len(entry)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, len(entry), 0, len(comment)) + comment
    path = tmp_path / "x.zip"
    path.write_bytes(entry * count + record + locator + end)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == count
    with pytest.raises(Problem, match="list of files is too long"):
        check_archive(path, 10)


def test_a_list_that_zip64_says_is_elsewhere_is_not_looked_for(tmp_path: Path) -> None:
    """Of two records newer versions of Python take the one that the locator names, older ones the one before it."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    long = entry * 20_000

    def record(listed: bytes, extra: int) -> bytes:
        count = len(listed) // len(entry)
        return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44 + extra, 45, 45, 0, 0, count, count, len(listed), 0)

    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(long), 1)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, len(entry), 0, 0)
    path = tmp_path / "x.zip"
    for before_locator in (record(entry, 0), bytes(56)):
        path.write_bytes(long + record(long, 56) + before_locator + locator + end)
        with pytest.raises(Problem, match="zip64 is not where it should be"):
            check_archive(path, 10)


def test_a_bomb_is_refused_by_what_it_would_unpack_to(tmp_path: Path) -> None:
    path = written(tmp_path, {f"a/{n}.jpg": bytes(3_000_000) for n in range(5)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(Problem) as refused:
        check_archive(path, 10)
    assert "unpack" in refused.value.detail


def test_too_many_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem) as refused:
        check_archive(written(tmp_path, {f"a/{n}.jpg": PHOTO for n in range(11)}), 10)
    assert "at most 10" in refused.value.detail


@pytest.mark.parametrize("at", range(0, 1400, 37))
def test_a_damaged_archive_costs_at_most_itself(tmp_path: Path, at: int) -> None:
    path = written(tmp_path, {"a/1.jpg": PHOTO})
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0xFF
    path.write_bytes(data)
    with suppress(Problem):
        check_archive(path, 10)
        assert all(one.reason_code or one.data for one in packed_photos(path, 10_000))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("at", [*range(12), 60])
def test_a_damaged_member_is_a_failed_photo_and_the_others_go_on(tmp_path: Path, compression: int, at: int) -> None:
    path = written(tmp_path, {"a/1.jpg": PHOTO, "b/2.jpg": PHOTO}, compression)
    data = bytearray(path.read_bytes())
    data[len("a/1.jpg") + 30 + at] ^= 0xFF  # behind the first member's header
    path.write_bytes(data)
    assert check_archive(path, 10) == 2
    first, second = packed_photos(path, 10_000)
    assert (first.data, first.reason_code) in [(b"", "unreadable"), (PHOTO, None)]
    assert second.data == PHOTO


def test_a_locked_archive_says_so_for_each_photo(tmp_path: Path) -> None:
    path = written(tmp_path, {"a/1.jpg": PHOTO})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption in both headers
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    (one,) = packed_photos(path, 10_000)
    assert (one.data, one.reason_code) == (b"", "unreadable")
