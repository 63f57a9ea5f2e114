import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceid import feature_set as module
from faceid.feature_file import read_features, write_features
from faceid.feature_set import FeatureError, FeatureSet, feature_set
from indexer.records import ModelBinding


def unit_rows(n: int, dimension: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def names(*texts: str) -> np.ndarray:
    return np.array(texts, np.str_)


def test_what_faceid_embed_writes_is_read_back_without_a_copy(tmp_path: Path) -> None:
    rows = unit_rows(3, 8)
    file = tmp_path / "people.npz"
    write_features(file, rows, ("ann", "ann", ""), ("a/1.jpg", "a/2.jpg", "b/ü.jpg"), ModelBinding("m", "d1", 8))

    read = read_features(file)

    assert np.array_equal(read.features, rows)
    assert isinstance(read.features, np.memmap)
    assert not read.features.flags.writeable
    assert read.labels.tolist() == ["ann", "ann", ""]
    assert read.paths.tolist() == ["a/1.jpg", "a/2.jpg", "b/ü.jpg"]
    assert read.source == str(file)
    assert read.model == ModelBinding("m", "d1", 8)
    assert read.notes == ()


def test_a_flipped_bit_in_rows_that_are_mapped_is_refused(tmp_path: Path) -> None:
    rows, file = unit_rows(4096, 64), tmp_path / "people.npz"
    write_features(file, rows, [""] * 4096, [""] * 4096, ModelBinding("m", "d1", 64))
    content = bytearray(file.read_bytes())
    content[content.index(rows[2000].tobytes()) + 2] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(FeatureError, match=r"not a sound \.npz.*Bad CRC-32 for file 'features\.npy'"):
        read_features(file)


@pytest.mark.parametrize("member", [b"\x93NUMPY\2\0\0\0\0\4" + bytes(2**24), unit_rows(1, 8).repeat(2**19, axis=0)])
def test_a_file_of_kilobytes_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, member: bytes | np.ndarray) -> None:
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, labels=names("a"), paths=names("1"))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_BZIP2) as archive:
        if isinstance(member, bytes):
            archive.writestr("features.npy", member)
        else:
            with archive.open("features.npy", "w") as features:
                np.lib.format.write_array(features, member)
    assert file.stat().st_size < 4000
    with pytest.raises(FeatureError, match="it would unpack to 16,777,"):
        read_features(file)


@pytest.mark.parametrize(("descr", "shape"), [("<f4", (10**7, 0)), ("|V0", (10**7,)), ("<f4", ())])
def test_rows_that_take_no_bytes_are_not_numbered(tmp_path: Path, descr: str, shape: tuple[int, ...]) -> None:
    file = tmp_path / "d.npy"
    with file.open("wb") as written:
        np.lib.format.write_array_header_1_0(written, {"descr": descr, "fortran_order": False, "shape": shape})
        written.write(bytes(4) if not shape else b"")
    tracemalloc.start()
    with pytest.raises(FeatureError, match=r"features must be \[N, D\]"):
        read_features(file)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_the_digest_is_the_sha256_of_the_rows_however_they_are_stored(tmp_path: Path) -> None:
    # sha256sum of the 16 bytes 0000803f 00000000 00000000 0000803f
    rows = np.eye(2, dtype=np.float32)
    expected = "a666c95f0822c64e01580063e9bb27c629d4d0534e3163a9611738599f97df2a"
    np.save(tmp_path / "plain.npy", rows)
    np.save(tmp_path / "by_columns.npy", np.asfortranarray(rows))
    np.savez_compressed(tmp_path / "small.npz", features=rows, labels=names("a", "b"), paths=names("1", "2"))
    np.savez(tmp_path / "half.npz", features=rows.astype(np.float16), labels=names("a", "b"), paths=names("1", "2"))

    digests = {read_features(file).digest for file in tmp_path.iterdir()}

    assert digests == {expected}


def test_distractors_alone_are_mapped_and_named_by_their_row(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", unit_rows(11, 4))
    read = read_features(tmp_path / "d.npy")
    assert isinstance(read.features, np.memmap)
    assert set(read.labels.tolist()) == {""}
    assert read.paths.tolist() == [str(row) for row in range(11)]


def test_rows_of_another_length_are_normalised_and_the_notes_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[3, 4], [0, 2]], np.float32))
    read = read_features(tmp_path / "d.npy")
    assert read.features.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 1]]
    assert read.notes == ("d.npy: rows of length 2 to 5 were normalised to 1",)


def test_float16_features_become_unit_float32(tmp_path: Path) -> None:
    rows = unit_rows(5, 512)
    np.savez(tmp_path / "h.npz", features=rows.astype(np.float16), labels=names(*"abcde"), paths=names(*"12345"))
    read = read_features(tmp_path / "h.npz")
    assert read.features.dtype == np.float32
    assert np.allclose(np.linalg.norm(read.features.astype(np.float64), axis=1), 1, atol=1e-6)
    assert np.allclose(read.features, rows, atol=1e-4)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "is zero")])
def test_a_bad_row_is_refused_and_named_wherever_it_lies(
    monkeypatch: pytest.MonkeyPatch, value: float, what: str
) -> None:
    monkeypatch.setattr(module, "BLOCK_VALUES", 8)  # two rows a block
    rows = unit_rows(7, 4)
    rows[5] = value
    paths = names(*(f"photo{row}.jpg" for row in range(7)))
    with pytest.raises(FeatureError, match=rf"faces\.npz: row 5 \(photo5\.jpg\) .*{what}"):
        feature_set(rows, names(*"aaaaaaa"), paths, Path("faces.npz"))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 64))
def test_digest_and_checks_do_not_depend_on_the_block_size(rows: int, dimension: int, block: int) -> None:
    matrix = unit_rows(rows, dimension)
    texts = np.zeros(rows, "U1")
    whole = feature_set(matrix, texts, texts, Path("x.npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_VALUES", block)
        parts = feature_set(matrix, texts, texts, Path("x.npz"))
    assert parts.digest == whole.digest
    assert np.array_equal(parts.features, whole.features)


def broken_files(folder: Path) -> dict[str, Path]:
    good = {"features": unit_rows(2, 4), "labels": names("a", "b"), "paths": names("1", "2")}
    files = {name: folder / f"{name}.npz" for name in ("no_labels", "short_labels", "pickled", "vector", "whole")}
    np.savez(files["no_labels"], features=good["features"], paths=good["paths"])
    np.savez(files["short_labels"], **{**good, "labels": names("a")})
    np.savez(files["pickled"], **{**good, "labels": np.array(["a", {}], object)}, allow_pickle=True)
    np.savez(files["vector"], **{**good, "features": np.ones(2, np.float32)})
    np.savez(files["whole"], **{**good, "features": np.ones((2, 4), np.int64)})
    np.savez(folder / "torn.npz", **good)
    (folder / "torn.npz").write_bytes((folder / "torn.npz").read_bytes()[:-30])
    (folder / "text.npy").write_text("1 2 3")
    np.save(folder / "long.npy", unit_rows(4, 4))
    (folder / "long.npy").write_bytes((folder / "long.npy").read_bytes()[:-1])
    (folder / "faces.txt").write_text("1 2 3")
    np.save(folder / "array.npy", good["features"])
    (folder / "array.npy").rename(folder / "array.npz")
    np.savez(folder / "archive.npz", **good)
    (folder / "archive.npz").rename(folder / "archive.npy")
    (folder / "text.npz").write_text("1 2 3")
    with zipfile.ZipFile(folder / "no_ending.npz", "w") as archive:
        for name, array in good.items():
            buffer = BytesIO()
            np.save(buffer, array)
            archive.writestr(name, buffer.getvalue())
    np.save(folder / "empty.npy", np.empty((0, 4), np.float32))
    return {
        **files,
        **{name: folder / name for name in ("torn.npz", "text.npy", "long.npy", "faces.txt", "empty.npy", "none.npz")},
        **{name: folder / name for name in ("array.npz", "archive.npy", "text.npz", "no_ending.npz")},
    }


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("no_labels", "no array labels"),
        ("short_labels", r"labels must be text \[2\]"),
        ("pickled", "without pickles"),
        ("vector", r"features must be \[N, D\]"),
        ("whole", "must be float32 or float16, not int64"),
        ("torn.npz", "not a sound .npz"),
        ("text.npy", "not a sound .npy"),
        ("long.npy", "not a sound .npy"),
        ("faces.txt", "ends in .npz"),
        ("empty.npy", r"not \[0, 4\]"),
        ("none.npz", "no such feature file"),
        ("array.npz", "not a sound .npz"),
        ("archive.npy", "not a sound .npy"),
        ("text.npz", r"not a sound \.npz file, which is a zip archive"),
        ("no_ending.npz", "no array features, labels, paths"),
    ],
)
def test_a_file_that_is_no_feature_file_is_refused_by_name(tmp_path: Path, which: str, says: str) -> None:
    path = broken_files(tmp_path)[which]
    with pytest.raises(FeatureError, match=says) as error:
        read_features(path)
    assert str(path) in str(error.value)


def test_a_feature_set_has_the_length_of_its_rows() -> None:
    rows = unit_rows(3, 4)
    assert len(FeatureSet(rows, names(*"abc"), names(*"123"), "", "")) == 3


def npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("member", ["features", "labels", "paths", "model"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_claims_more_than_the_archive_holds_is_refused_before_anything_is_allocated(
    tmp_path: Path, member: str, compression: int
) -> None:
    arrays = {
        "features": unit_rows(2, 4),
        "labels": names("a", "b"),
        "paths": names("1", "2"),
        "model": names("m", "d"),
    }
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", compression) as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.save(buffer, array)
            content = buffer.getvalue()
            if name == member:  # 4 TB by its header, a million bytes by the archive's
                content = npy_header((10**12,), "<f4" if member == "features" else "<U1") + bytes(10**6)
            archive.writestr(f"{name}.npy", content)

    with pytest.raises(FeatureError, match=rf"bomb\.npz: .*the size of {member}\.npy does not fit its header"):
        read_features(tmp_path / "bomb.npz")


def test_no_more_is_unpacked_than_the_archive_declares_so_that_its_check_sum_fails(tmp_path: Path) -> None:
    file = tmp_path / "more.npz"
    labels = names("a", "b")
    np.savez_compressed(file, features=unit_rows(2, 4), labels=np.tile(labels, 5000), paths=names("1", "2"))
    with zipfile.ZipFile(file) as archive:
        member = archive.getinfo("labels.npy")
    short = len(npy_header((2,), "<U1")) + labels.nbytes
    size, less = (number.to_bytes(4, "little") for number in (member.file_size, short))
    content = file.read_bytes()
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(b"labels.npy"))
    # The size is in the central directory, the one that counts.
    file.write_bytes(content[:directory] + content[directory:].replace(size, less, 1))
    with pytest.raises(FeatureError, match=r"not a sound \.npz.*Bad CRC-32 for file 'labels\.npy'"):
        read_features(file)
