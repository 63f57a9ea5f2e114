"""Training data that is damaged or made to do harm: one DataError with the file and the key, before memory is taken."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceid.vision import png_file
from tests.faceid.vision.zoo import chunk
from tests.training.data.test_readers import SIDE, add, header, photo, png, record, write_records
from training.config import read_yaml
from training.data import recordio
from training.data.faces import UInt8Images
from training.data.opening import open_faces
from training.data.pack import read_packs
from training.data.recordio import MAGIC, open_records
from training.data.shards import is_shard, open_shards
from training.data.tar_members import MAX_MEMBER_BYTES
from training.errors import ConfigError, DataError

FACE = png(photo("ann", 0))
GIGABYTE = struct.pack(">I", 10**9)


def records(folder: Path, *written: bytes, index: str | None = None) -> Path:
    """Write a .rec of these records with keys 1.., and its .idx."""
    path, places, data = folder / "train.rec", [], b""
    for each in written:
        places.append(len(data))
        data += each
    path.write_bytes(data)
    lines = "".join(f"{key}\t{place}\n" for key, place in enumerate(places, start=1))
    path.with_suffix(".idx").write_text(lines if index is None else index)
    return path


def raw(length: int, data: bytes) -> bytes:
    """A record that announces another length than it has."""
    return struct.pack("<II", MAGIC, length) + data


GOOD = record(header(1) + FACE)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (record(header(float("nan")) + FACE), r"record 2 of .*train\.rec has a label that is no number"),
        (record(header(float("inf")) + FACE), r"record 2 of .*train\.rec has a label that is no number"),
        (record(header(0, float("nan")) + FACE), r"record 2 of .*train\.rec has a label that is no number"),
        (record(struct.pack("<IfQQ", 2**31, 0, 0, 0) + FACE), r"record 2 of .* announces 2147483648 labels"),
        (record(struct.pack("<IfQQ", 1, 0, 0, 0)), r"record 2 of .* announces 1 labels in 24 bytes"),
        (raw(24, header(0))[:20], r"record 2 of .* is damaged"),
    ],
    ids=["nan", "infinite", "nan in a list", "billions of labels", "no room for the label", "torn header"],
)
def test_a_record_whose_labels_are_none_is_named(tmp_path: Path, second: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_records([records(tmp_path, GOOD, second)], side=SIDE)


@pytest.mark.parametrize(
    "index",
    [
        "1\t-8\n",
        "1\t99999999999\n",
        "1\t0\n2\t18446744073709551616\n",
        "-1\t0\n",
        "x\t0\n",
        "1\tx\n",
        "1 0\n",
        "1\t\u0663\n",
    ],
)
def test_an_index_that_leads_outside_is_refused(tmp_path: Path, index: str) -> None:
    path = records(tmp_path, GOOD, GOOD)
    path.with_suffix(".idx").write_text(index, encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.rec"):
        open_records([path], side=SIDE)


def test_a_length_of_half_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    path = records(tmp_path, GOOD, raw(2**29 - 1, header(1) + FACE))
    faces = open_records([path], side=SIDE)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"record 2 at byte \d+ of .*train\.rec is torn"):
        faces.read(np.array([1]))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_parts_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordio, "MAX_RECORD_BYTES", 8000)
    first = struct.pack("<II", MAGIC, 1 << 29 | 24) + header(1)
    middle = struct.pack("<II", MAGIC, 2 << 29 | 8) + bytes(8)
    faces = open_records([records(tmp_path, GOOD, first + middle * 1000)], side=SIDE)
    with pytest.raises(DataError, match=r"record 2 of .* has more than 8,000 bytes"):
        faces.read(np.array([1]))


def test_an_end_of_the_images_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = records(tmp_path, record(header(0, float("nan"), 5)), GOOD, index=None)
    path.with_suffix(".idx").write_text(f"0\t0\n1\t{len(record(header(0, 1, 5)))}\n")
    with pytest.raises(DataError, match=r"record 0 of .* is no number"):
        open_records([path], side=SIDE)


@pytest.mark.parametrize("name", ["train.rec", "train.idx"])
def test_a_pipe_in_place_of_records_is_refused(tmp_path: Path, name: str) -> None:
    write_records(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="not a regular file"):
        open_records([tmp_path / "train.rec"], side=SIDE)


def test_an_image_whose_header_asks_for_gigabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    huge = FACE[:16] + struct.pack(">II", 30_000, 30_000) + FACE[24:]
    faces = open_records([records(tmp_path, GOOD, record(header(1) + huge))], side=SIDE)
    with pytest.raises(DataError, match=r"train\.rec/2 is 30000x30000 pixels"):
        faces.read(np.array([1]))


@pytest.mark.parametrize("change", ["pixels of a gigabyte", "a second header"])
def test_a_png_that_announces_gigabytes_within_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)  # to which it is an image or none, after it has taken the memory
    header_again = FACE[8:16] + struct.pack(">II", 30_000, 30_000) + FACE[24:33]
    within = {"pixels of a gigabyte": GIGABYTE + b"IDAT", "a second header": header_again}[change]
    faces = open_records([records(tmp_path, GOOD, record(header(1) + FACE[:33] + within + FACE[33:]))], side=SIDE)
    with pytest.raises(DataError, match=r"train\.rec/2 in the training data is not an image"):
        faces.read(np.array([1]))


@pytest.mark.parametrize(
    "tail",
    [b"", GIGABYTE, GIGABYTE + b"IDAT" + bytes(4), GIGABYTE + b"IEND" + bytes(4)],
    ids=["nothing", "a length", "pixels", "an end"],
)
def test_a_png_without_its_last_chunk_is_not_whole(tail: bytes) -> None:
    """OpenCV takes memory for a chunk as soon as it has read its length."""
    assert png_file.whole(FACE) == FACE
    assert not png_file.whole(FACE[:-12] + tail)


def test_what_follows_a_pngs_last_chunk_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV looks for the pixels of a PNG without any behind its last chunk, too."""
    without_pixels = FACE[:33] + FACE[-12:]
    behind = [record(header(1) + png + GIGABYTE + b"IDAT") for png in (FACE, without_pixels)]
    faces = open_records([records(tmp_path, *behind)], side=SIDE)
    read: list[bytes] = []
    whole = cv2.imdecode

    def noted(data: UInt8Images, flags: int) -> object:
        read.append(bytes(data))
        return whole(data, flags)

    monkeypatch.setattr(cv2, "imdecode", noted)
    assert faces.read(np.array([0])).shape == (1, SIDE, SIDE, 3)
    with pytest.raises(DataError, match=r"train\.rec/2 in the training data is not an image"):
        faces.read(np.array([1]))
    assert read == [FACE, without_pixels]


def test_of_a_png_nothing_is_read_but_its_picture_and_which_way_up_it_is() -> None:
    """libpng unpacks every text, and OpenCV looks for an animation's numbers behind the end of a chunk without any."""
    text = zlib.compress(bytes(2**20))
    odd = chunk(b"zTXt", b"a\0\0" + text) + chunk(b"acTL", b"") + chunk(b"fcTL", b"")
    upright = chunk(b"eXIf", b"II*\0")
    assert png_file.whole(FACE[:33] + odd + upright + FACE[33:]) == FACE[:33] + upright + FACE[33:]


def sparse(path: Path) -> Path:
    """A tar of one member that is 2 GB long and stored in no bytes at all (GNU's old sparse format)."""
    member = tarfile.TarInfo("ann/1.png")
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[386:410] = b"%011o\0%011o\0" % (2**31, 0)
    block[483:495] = b"%011o\0" % 2**31
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))
    return path


def sparse_by_name(path: Path) -> Path:
    """A tar of one member with holes, in the format of today, where a header of names says so."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("ann/1.png")
        member.pax_headers = {"GNU.sparse.map": "0,4", "GNU.sparse.size": "100"}
        member.size = 4
        tar.addfile(member, io.BytesIO(b"face"))
    return path


def of_a_size_below_zero(path: Path) -> Path:
    """A tar whose member leads back to itself: it has no end."""
    block = bytearray(tarfile.TarInfo("ann/1.png").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (256**12 - 512).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))
    return path


def announcing(path: Path, size: int) -> Path:
    """A tar whose member announces more bytes than there are."""
    member = tarfile.TarInfo("ann/1.png")
    member.size = size
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    return path


def pax(body: bytes) -> bytes:
    """A header that stands before a member, of these records."""
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, len(body)
    return member.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)


def sparse_by_pax(path: Path) -> Path:
    """A tar of one member whose list of 100 million holes, as GNU tar writes it now, stands where its bytes do."""
    member = tarfile.TarInfo("ann/1.png")
    member.size = MAX_MEMBER_BYTES
    header = pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")
    path.write_bytes(header + member.tobuf(tarfile.GNU_FORMAT) + b"99999999\n" + b"0\n" * 2_000_000)
    return path


def pax_within_pax(path: Path) -> Path:
    """A tar of headers for headers for headers..., each of thousands of records."""
    path.write_bytes(pax(b"".join(b"10 %05x=\n" % number for number in range(6500))) * 100)
    return path


def nested_long_names(path: Path) -> Path:
    """A tar of long names of long names of long names..."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 4
    path.write_bytes((member.tobuf(tarfile.GNU_FORMAT) + b"a/b\0".ljust(512, b"\0")) * 5000)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (sparse, "with holes"),
        (sparse_by_name, "with holes"),
        (of_a_size_below_zero, "torn"),
        (lambda path: announcing(path, 10 * 2**30), "has 10,737,418,240 bytes"),
        (lambda path: announcing(path, MAX_MEMBER_BYTES), "torn|damaged"),
        (nested_long_names, "damaged"),
        (sparse_by_pax, "holes"),
        (pax_within_pax, "a header of 65,000 bytes"),
        (pipe, "not a regular"),
    ],
    ids=[
        *("sparse", "sparse by name", "below zero", "ten gigabytes", "beyond the end", "nested long names"),
        *("sparse by pax", "pax within pax", "pipe"),
    ],
)
@pytest.mark.parametrize("reader", [open_shards, read_packs])
def test_a_hostile_tar_is_one_error_and_takes_no_memory(
    tmp_path: Path, reader: Callable[..., object], write: Callable[[Path], Path], says: str
) -> None:
    path = write(tmp_path / "0.tar")
    tracemalloc.start()
    with pytest.raises(DataError, match=says) as refused:
        reader([path], side=SIDE)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()
    assert "0.tar" in str(refused.value)
    assert not is_shard(path)


def test_a_packed_tar_that_unpacks_to_gigabytes_is_refused_at_its_first_header(tmp_path: Path) -> None:
    member = tarfile.TarInfo("ann/1.png")
    member.size = 2**33
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(10 * 2**20)))
    with pytest.raises(DataError, match="8,589,934,592 bytes"):
        open_faces([path], side=SIDE, only_faces=False)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_name_of_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("name")
    member.type, member.size = kind, 2**26
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(DataError, match="a header of 67,108,864 bytes"):
        open_faces([path], side=SIDE, only_faces=False)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_list_of_holes_without_end_is_not_followed(tmp_path: Path) -> None:
    member = tarfile.TarInfo("ann/1.png")
    member.type = tarfile.GNUTYPE_SPARSE
    start = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    start[482] = 1  # the list goes on
    start[148:156] = b"%06o\0 " % (sum(start[:148]) + 8 * 32 + sum(start[156:]))
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(start) + (bytes(504) + b"\1" + bytes(7)) * 100_000))
    with pytest.raises(DataError, match="sparse"):
        open_faces([path], side=SIDE, only_faces=False)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"?"])
def test_what_is_no_face_but_terabytes_is_not_unpacked_to_pass_it_over(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("ann/1.png")
    member.type, member.size = kind, 2**40
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(10 * 2**20)))
    with pytest.raises(DataError, match="1,099,511,627,776 bytes"):
        open_faces([path], side=SIDE, only_faces=False)


def test_faces_that_unpack_to_gigabytes_are_not_held(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    face = FACE + bytes(2**22)
    with tarfile.open(path, "w:gz") as tar:
        for number in range(6):
            add(tar, f"ann/{number}.png", face)
    with pytest.raises(DataError, match=r"bomb\.tar\.gz holds more than .* far more than faces can be packed into"):
        read_packs([path], side=SIDE)


def test_a_label_of_a_megabyte_is_no_label(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "1.png", FACE)
        add(tar, "1.cls", b"a" * 2**20)
    with pytest.raises(DataError, match=r"1\.cls in .*0\.tar has 1,048,576 bytes"):
        open_shards([tmp_path / "0.tar"], side=SIDE)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, 1]\nb: *x\n",
        "a: &x [*x]\n",
        "\n".join(["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]),
        "[" * 100_000,
        "{a: " * 5000,
        "a: 2026-99-99\n",
        "a: !!python/object/apply:os.system [true]\n",
        "a" * 2**21,
    ],
    ids=["alias", "circle", "billion laughs", "brackets", "braces", "no date", "a program", "too large"],
)
def test_a_config_that_does_harm_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_yaml(path)


def test_a_config_in_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        read_yaml(tmp_path / "config.yaml")


def test_a_plain_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {b: [1, 2.5, x]}\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": {"b": [1, 2.5, "x"]}}


@pytest.mark.parametrize("name", [".", "..", ".hidden.jpg", "a/._1.jpg"])
def test_hidden_files_and_odd_names_in_a_shard_are_no_faces(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "faces.tar", "w") as tar:
        for member, payload in ((name, FACE), ("a/1.png", FACE), ("a/1.cls", b"ann")):
            add(tar, member, payload)
    assert open_shards([tmp_path / "faces.tar"], side=SIDE).identities == ("ann",)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_what_is_refused_is_not_left_open(tmp_path: Path) -> None:
    (tmp_path / "torn.tar").write_bytes(bytes(100))
    with tarfile.open(tmp_path / "sound.tar", "w") as tar:
        add(tar, "1.png", FACE)
        add(tar, "1.cls", b"ann")
    torn = records(tmp_path, GOOD, GOOD[:-8], index="1\t0\n2\t9999\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(DataError):
            open_records([torn], side=SIDE)
        with pytest.raises(DataError):
            open_shards([tmp_path / "sound.tar", tmp_path / "torn.tar"], side=SIDE)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
