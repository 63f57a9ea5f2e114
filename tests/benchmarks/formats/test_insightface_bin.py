"""A verification set is read, and a pickle that wants to do anything is refused before it does."""

import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.formats import plain_pickle
from benchmarks.formats.insightface_bin import BinError, read_bin

IMAGES = [b"\xff\xd8one", b"\xff\xd8two", b"\x89PNG", b""]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "lfw.bin"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_set_comes_back_as_it_was(tmp_path: Path, protocol: int) -> None:
    pairs = read_bin(written(tmp_path, pickle.dumps((IMAGES, [True, False]), protocol)))
    assert pairs.images == tuple(IMAGES)
    assert pairs.same.tolist() == [True, False]
    assert pairs.same.dtype == np.bool_


def test_a_set_of_python_2_comes_back_as_bytes(tmp_path: Path) -> None:
    """Protocol 2 of Python 2: SHORT_BINSTRING for its str, NEWTRUE and NEWFALSE, appended to lists."""
    data = b"\x80\x02]q\x00(U\x05\xff\xd8oneU\x05\xff\xd8twoU\x04\x89PNGU\x00e]q\x01(\x88\x89e\x86q\x02."
    assert [op.name for op, _, _ in pickletools.genops(data)][3:5] == ["MARK", "SHORT_BINSTRING"]
    pairs = read_bin(written(tmp_path, data))
    assert pairs.images == tuple(IMAGES)
    assert pairs.same.tolist() == [True, False]


class Harm:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_would_run_something_runs_nothing(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    data = pickle.dumps((IMAGES, [True, Harm(marker)]), protocol)
    with pytest.raises(BinError, match="nothing of it was run"):
        read_bin(written(tmp_path, data))
    assert not marker.exists()
    pickle.loads(data)  # where it is trusted it does harm
    assert marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02Pthing\n.",
        pickle.dumps(np.float64(1)),
        pickle.dumps(Path("x")),
        pickle.dumps(np.ones(2, bool)),
        pickle.dumps(print),
    ],
)
def test_no_name_is_looked_up(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BinError, match="nothing of it was run"):
        read_bin(written(tmp_path, data))


@pytest.mark.parametrize(
    "data", [b"", b"not a pickle", pickle.dumps((IMAGES, [True]))[:-9], b"\x80\x04\x95" + b"\xff" * 8]
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BinError, match=r"lfw\.bin: not a pickle"):
        read_bin(written(tmp_path, data))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2, 3], "pair of lists"),
        ((IMAGES, [True]), "4 images where 1 pairs take 2"),
        (([], []), "0 images"),
        ((IMAGES, [1, 0]), "booleans"),
        ((["text"] * 4, [True, False]), "bytes"),
        ((b"four", [True, False]), "bytes"),
    ],
)
def test_other_contents_are_errors(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(BinError, match=says):
        read_bin(written(tmp_path, pickle.dumps(content)))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 200_000])
@pytest.mark.parametrize("kind", ["dictionary", "tuple", "list"])
def test_things_nested_without_end_are_refused(tmp_path: Path, kind: str, depth: int) -> None:
    data = {
        "dictionary": b"\x80\x02})" + b"\x85" * depth + b"Ns.",
        "tuple": b"\x80\x02)" + b"\x85" * depth + b".",
        "list": b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".",
    }[kind]
    with pytest.raises(BinError, match="damaged"):
        read_bin(written(tmp_path, data))


@pytest.mark.parametrize("operator", [b"N", b"\x94", b"]"])
def test_more_things_than_any_set_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operator: bytes
) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_OPERATORS", 1000)
    with pytest.raises(BinError, match="without an end in its first 1,000 operators"):
        read_bin(written(tmp_path, b"\x80\x04N" + operator * 1000 + b"."))


def test_a_list_in_itself_is_refused(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BinError, match="damaged"):
        read_bin(written(tmp_path, pickle.dumps((loop, [True]), 4)))


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lfw.bin")
    with pytest.raises(BinError, match="not a regular"):
        read_bin(tmp_path / "lfw.bin")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BinError, match="cannot be read"):
        read_bin(tmp_path / "none.bin")
