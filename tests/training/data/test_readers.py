"""Every reader of training faces gives the same people, pixels and errors, whatever lies on disk."""

import io
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.faces import FaceSource, decode, leave_out, read_names
from training.data.opening import open_faces
from training.data.recordio import MAGIC, open_records
from training.data.shards import SHARDS_AT_A_TIME, open_shards
from training.errors import DataError

SIDE = 16
PEOPLE = {"ann": 3, "bob": 2, "zoe": 4}  # photos of each


def photo(person: str, number: int) -> np.ndarray:
    colour = (40 * sorted(PEOPLE).index(person) + 20, 30 * number, 128)
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def png(rgb: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1])


def collection() -> list[tuple[str, int, bytes]]:
    return [(person, number, png(photo(person, number))) for person, count in PEOPLE.items() for number in range(count)]


def add(tar: tarfile.TarFile, name: str, payload: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(payload)
    tar.addfile(member, io.BytesIO(payload))


def write_folder(folder: Path) -> Path:
    for person, number, payload in collection():
        (folder / "people" / person).mkdir(parents=True, exist_ok=True)
        (folder / "people" / person / f"{number}.png").write_bytes(payload)
    (folder / "people" / "ann" / "notes.txt").write_text("not a photo")
    return folder / "people"


def write_pack(folder: Path) -> Path:
    with tarfile.open(folder / "pack.tar", "w") as tar:
        for person, number, payload in collection():
            add(tar, f"{person}/{number}.png", payload)
    return folder / "pack.tar"


def write_shard(folder: Path, shards: int = 2) -> Path:
    (folder / "shards").mkdir()
    for shard in range(shards):
        with tarfile.open(folder / "shards" / f"{shard:03}.tar", "w") as tar:
            for index, (person, number, payload) in enumerate(collection()):
                if index % shards == shard:
                    add(tar, f"a/{person}.v1/{number}.png", payload)
                    add(tar, f"a/{person}.v1/{number}.cls", person.encode())
                    add(tar, f"a/{person}.v1/{number}.json", b"{}")
    return folder / "shards"


def record(payload: bytes) -> bytes:
    """As MXNet writes it: split where the magic word stands in the data at a multiple of four."""
    word = struct.pack("<I", MAGIC)
    cuts = [place for place in range(0, len(payload) - 3, 4) if payload[place : place + 4] == word]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    parts = [payload[start:end] for start, end in zip(starts, ends, strict=True)]
    kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        word + struct.pack("<I", kind << 29 | len(part)) + part + bytes(-len(part) % 4)
        for kind, part in zip(kinds, parts, strict=True)
    )


def header(label: float, *labels: float) -> bytes:
    return struct.pack("<IfQQ", len(labels), label, 0, 0) + struct.pack(f"<{len(labels)}f", *labels)


def write_records(folder: Path, *, meta: bool = True) -> Path:
    """Images are keys 1.., and with `meta` record 0 says where the identities' own records begin, as insightface's."""
    people = sorted(PEOPLE)
    images = [(people.index(person), payload) for person, _, payload in collection()]
    records = [header(label) + payload for label, payload in images]
    if meta:
        end = len(records) + 1
        records = [header(0, end, end + len(people)), *records]
        records += [header(0, 1, 2) for _ in people]
    else:
        records = [header(0, label) + payload for label, payload in images]  # the label as an array of one
    path = folder / "train.rec"
    places, written = [], b""
    for each in records:
        places.append(len(written))
        written += record(each)
    path.write_bytes(written)
    path.with_suffix(".idx").write_text("".join(f"{key}\t{place}\n" for key, place in enumerate(places)))
    return path


def write_bare_records(folder: Path) -> Path:
    return write_records(folder, meta=False)


def opened(path: Path) -> FaceSource:
    return open_faces([path], side=SIDE, only_faces=False)


@pytest.mark.parametrize("write", [write_folder, write_pack, write_shard, write_records, write_bare_records])
def test_every_format_gives_the_same_faces_of_the_same_people(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    faces = opened(write(tmp_path))
    assert len(faces.identities) == 3
    assert sorted(np.bincount(faces.labels).tolist()) == [2, 3, 4]
    images = faces.read(np.arange(9))
    expected = {photo(person, number).tobytes() for person, number, _ in collection()}
    assert {image.tobytes() for image in images} == expected
    for index, label in enumerate(faces.labels):  # red tells the person
        assert images[index, 0, 0, 0] == 40 * label + 20
    some = np.array([7, 0, 7])
    assert np.array_equal(faces.read(some), images[some])
    assert len({faces.name(index) for index in range(9)}) == 9
    assert sorted(faces.order(np.random.default_rng(0))) == list(range(9))


def test_what_systems_put_beside_faces_is_no_face(tmp_path: Path) -> None:
    people = write_folder(tmp_path)
    (people / "ann" / "._0.png").write_bytes(b"Mac OS X")
    for folder in (people / "@eaDir" / "0.png", people / ".@__thumb"):  # of network drives: thumbnails of each photo
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(png(photo("ann", 0)))
    faces = opened(people)
    assert faces.identities == ("ann", "bob", "zoe")
    assert len(faces.read(np.arange(len(faces.labels)))) == 9


def test_what_systems_put_into_a_pack_and_beside_it_is_no_face(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    with tarfile.open(write_pack(tmp_path / "packs"), "a") as tar:
        for name in ("._ann", "ann/._0.png", "ann/.DS_Store", "__MACOSX/ann/1.png", "ann/0.json"):
            add(tar, name, b"of a system")
    (tmp_path / "packs" / "._pack.tar").write_bytes(b"Mac OS X")
    faces = opened(tmp_path / "packs")
    assert faces.identities == ("ann", "bob", "zoe")
    assert len(faces.labels) == 9


def test_people_whose_names_end_as_a_sidecars_does_are_learned(tmp_path: Path) -> None:
    people = write_folder(tmp_path)
    (people / "ann").rename(people / "hans.arp")
    pack = write_pack(tmp_path)
    with tarfile.open(pack, "a") as tar:
        add(tar, "hans.arp/0.png", png(photo("ann", 0)))
    assert opened(people).identities == ("bob", "hans.arp", "zoe")
    assert opened(pack).identities == ("ann", "bob", "hans.arp", "zoe")


@pytest.mark.parametrize("images", [2, 3, 4])
def test_an_end_of_the_images_that_float32_rounds_costs_no_face_and_takes_no_identity_for_one(
    tmp_path: Path, images: int
) -> None:
    first = 2**24 - 1
    end = first + images
    records = {0: header(0, end, end + 2)}
    records |= {first + number: header(number % 2) + png(photo("ann", 0)) for number in range(images)}
    records |= {end + number: header(0, first, end) for number in range(2)}
    written, index = b"", ""
    for key, data in records.items():
        index += f"{key}\t{len(written)}\n"
        written += record(data)
    (tmp_path / "train.rec").write_bytes(written)
    (tmp_path / "train.idx").write_text(index)
    assert len(opened(tmp_path / "train.rec").labels) == images


@pytest.mark.parametrize("write", [write_folder, write_pack, write_shard, write_records])
def test_what_is_left_out_is_gone_and_the_rest_keeps_its_people(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    faces = opened(write(tmp_path))
    gone = [index for index in range(9) if faces.labels[index] == 1] + [int(np.flatnonzero(faces.labels == 2)[0])]
    rest = leave_out(faces, {faces.name(index) for index in gone})
    assert rest.left_out == 3
    assert len(rest.labels) == 6
    assert rest.identities == (faces.identities[0], faces.identities[2])
    images = rest.read(np.arange(6))
    assert [int(image[0, 0, 0]) for image in images] == [40 * [0, 2][label] + 20 for label in rest.labels]
    assert sorted(rest.order(np.random.default_rng(1))) == list(range(6))
    assert rest.digest != faces.digest


@pytest.mark.parametrize("write", [write_shard, write_records])
def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    for folder in ("webface", "emore"):
        (tmp_path / folder).mkdir()
    faces = open_faces([write(tmp_path / "webface"), write(tmp_path / "emore")], side=SIDE, only_faces=False)
    names = [faces.name(index) for index in range(18)]
    assert len(set(names)) == 18
    rest = leave_out(faces, {names[4]})
    assert [rest.name(index) for index in range(17)] == names[:4] + names[5:]
    assert write.__name__ != "write_records" or names[0].endswith("webface/train.rec/1")


def test_a_list_that_names_nobody_here_is_refused(tmp_path: Path) -> None:
    faces = opened(write_pack(tmp_path))
    with pytest.raises(DataError, match=r"none of the 1 faces to leave out is here, 'eve/0\.png'"):
        leave_out(faces, {"eve/0.png"})
    with pytest.raises(DataError, match="every face"):
        leave_out(faces, {faces.name(index) for index in range(9)})


def test_a_list_of_names_has_comments_and_remarks(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# found on Monday\nann/0.png\t62 degrees\n\nbob/1.png\n")
    assert read_names(tmp_path / "list") == {"ann/0.png", "bob/1.png"}
    (tmp_path / "list").write_text("\ufeffann/0.png\r\nbob/1.png\r\n")  # as Windows' editor writes it
    assert read_names(tmp_path / "list") == {"ann/0.png", "bob/1.png"}
    with pytest.raises(DataError, match="cannot read the list"):
        read_names(tmp_path / "none")


def test_two_kinds_together_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different kinds"):
        open_faces([write_pack(tmp_path), write_folder(tmp_path)], side=SIDE, only_faces=False)
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        open_faces([tmp_path / "nowhere"], side=SIDE, only_faces=False)
    with pytest.raises(DataError, match="no path of faces"):
        open_faces([], side=SIDE, only_faces=False)


@given(data=st.lists(st.sampled_from([struct.pack("<I", MAGIC), b"\x00", b"abcd", b"xyz"]), max_size=12))
def test_a_record_that_holds_the_magic_word_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes]
) -> None:
    from training.data import recordio

    payload = header(5) + b"".join(data)
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    path.write_bytes(record(b"first") + record(payload))
    with path.open("rb") as file:
        assert recordio._record(file.fileno(), len(record(b"first")), path, 1) == payload


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = write_records(tmp_path)
    written = bytearray(path.read_bytes())
    places = [int(line.split("\t")[1]) for line in path.with_suffix(".idx").read_text().splitlines()]
    for index in range(places[3], places[3] + 4):
        written[index] ^= 0xFF
    path.write_bytes(written)
    with pytest.raises(DataError, match=r"the record 3 of .*train\.rec is damaged, or the \.idx is of another file"):
        open_records([path], side=SIDE)
    path.with_suffix(".idx").write_text("0 0\n")
    with pytest.raises(DataError, match=r"\.idx of .*train\.rec is damaged"):
        open_records([path], side=SIDE)
    path.with_suffix(".idx").unlink()
    with pytest.raises(DataError, match=r"cannot read .*train\.rec and its \.idx"):
        open_records([path], side=SIDE)


def test_a_torn_record_file_is_noticed_when_the_face_is_read(tmp_path: Path) -> None:
    path = write_records(tmp_path, meta=False)
    faces = open_records([path], side=SIDE)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 20)
    assert len(faces.read(np.array([0]))) == 1
    with pytest.raises(DataError, match="is torn"):
        faces.read(np.array([8]))


def test_a_key_without_image_or_label_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "1.png", png(photo("ann", 0)))
        add(tar, "1.cls", b"ann")
        add(tar, "2.cls", b"ann")
    with pytest.raises(DataError, match=r"the key 2 in .*0\.tar has no image"):
        open_shards([tmp_path / "0.tar"], side=SIDE)
    with tarfile.open(tmp_path / "1.tar", "w") as tar:
        add(tar, "7.png", png(photo("ann", 0)))
        add(tar, "7.json", b"{}")
    with pytest.raises(DataError, match=r"the key 7 in .*1\.tar has no label"):
        open_shards([tmp_path / "1.tar"], side=SIDE)


@pytest.mark.parametrize(("again", "says"), [("J.Lee_2.png", "two images"), ("J.Lee_2.cls", "two labels")])
def test_keys_with_dots_do_not_make_one_face_of_several(tmp_path: Path, again: str, says: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "J.Lee_1.png", png(photo("ann", 0)))
        add(tar, "J.Lee_1.cls", b"lee")
        add(tar, again, png(photo("ann", 1)) if again.endswith(".png") else b"lee")
    with pytest.raises(DataError, match=rf"the key J in .*0\.tar has {says}: a key ends at the first dot"):
        open_shards([tmp_path / "0.tar"], side=SIDE)


def test_shards_of_compressed_tars_and_torn_ones_are_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, 1) / "000.tar"
    payload = shard.read_bytes()
    shard.write_bytes(payload[:700])
    with pytest.raises(DataError, match=r"cannot read .*000\.tar"):
        open_shards([shard], side=SIDE)


def test_an_epoch_of_shards_goes_through_a_few_of_them_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    count, each = 3 * SHARDS_AT_A_TIME, 5
    payload = png(photo("ann", 0))
    for shard in range(count):
        with tarfile.open(tmp_path / "many" / f"{shard:02}.tar", "w") as tar:
            for number in range(each):
                add(tar, f"{number}.png", payload)
                add(tar, f"{number}.cls", str(number).encode())
    faces = open_shards(sorted((tmp_path / "many").iterdir()), side=SIDE)
    order = faces.order(np.random.default_rng(0))
    assert sorted(order) == list(range(count * each))
    for third in np.array_split(order, 3):
        assert len(set(faces.shards[third])) == SHARDS_AT_A_TIME
        assert len(set(faces.shards[third[: 2 * each]])) > 2  # mixed with each other
    assert not np.array_equal(order, faces.order(np.random.default_rng(1)))


def test_shards_larger_than_the_memory_for_them_are_trained_from(tmp_path: Path) -> None:
    """5 MB of faces in shards are opened and read batch by batch with less than 1 MB of Python's memory."""
    (tmp_path / "large").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    payload = png(noise)  # some 12 kB
    for shard in range(4):
        with tarfile.open(tmp_path / "large" / f"{shard}.tar", "w") as tar:
            for number in range(100):
                add(tar, f"{number}.png", payload)
                add(tar, f"{number}.cls", str(number).encode())
    assert sum(file.stat().st_size for file in (tmp_path / "large").iterdir()) > 5e6
    tracemalloc.start()
    faces = open_shards(sorted((tmp_path / "large").iterdir()), side=64)
    for start in range(0, 400, 20):
        faces.read(np.arange(start, start + 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_an_empty_payload_is_no_image() -> None:
    with pytest.raises(DataError, match="a/1 in the training data is not an image"):
        decode([b""], ["a/1"], SIDE)
