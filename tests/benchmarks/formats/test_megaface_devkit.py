import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.formats.megaface_devkit import (
    RESULTS_NAME,
    DevkitError,
    read_devkit_results,
    read_feature,
    read_photo_list,
    read_tree,
    results_name,
    write_devkit_results,
    write_feature,
    write_photo_list,
    write_tree,
)
from benchmarks.formats.noise_lists import NoiseListError, noisy, read_noises
from benchmarks.results.results import Curve
from faceid.feature_set import FeatureError, FeatureSet, feature_set

# The vector (1, -0.5) by hand: rows 2, columns 1, 4 bytes a row, type 5, then the two float32.
GOLDEN = bytes.fromhex("02000000 01000000 04000000 05000000 0000803f 000000bf")
# The same as float64: 8 bytes a row, type 6.
GOLDEN_64 = bytes.fromhex("02000000 01000000 08000000 06000000 000000000000f03f 000000000000e0bf")


def people(tmp_path: Path) -> FeatureSet:
    rows = np.eye(3, 5, dtype=np.float32)
    paths = np.array(["Ann_A/Ann_A_1.png", "Ann_A/Ann_A_2.png", "Bob/Bob_7.png"])
    return feature_set(rows, np.array(["Ann_A", "Ann_A", "Bob"]), paths, tmp_path)


def test_a_feature_file_is_written_byte_for_byte_as_the_devkit_reads_it(tmp_path: Path) -> None:
    write_feature(tmp_path / "4" / "2.jpg_algo.bin", np.array([1, -0.5], np.float32))
    assert (tmp_path / "4" / "2.jpg_algo.bin").read_bytes() == GOLDEN


@pytest.mark.parametrize("data", [GOLDEN, GOLDEN_64])
def test_a_feature_file_of_either_type_is_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f.bin").write_bytes(data)
    vector = read_feature(tmp_path / "f.bin")
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, -0.5]


def test_five_hundred_and_twelve_numbers_take_2064_bytes(tmp_path: Path) -> None:
    write_feature(tmp_path / "f.bin", np.zeros(512, np.float32))
    assert (tmp_path / "f.bin").stat().st_size == 2064


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (GOLDEN[:7], "7 bytes; a feature file begins with 16"),
        (GOLDEN[:-1], "23 bytes, but a header for 2 numbers, which take 24"),
        (GOLDEN + b"\0", "25 bytes"),
        (bytes.fromhex("ffffff7f 01000000 04000000 05000000 0000803f"), "header for 2147483647 numbers"),
        (bytes.fromhex("ffffffff 01000000 04000000 05000000"), r"header \(-1, 1, 4, 5\)"),
        (bytes.fromhex("01000000 02000000 08000000 05000000 0000803f 000000bf"), r"header \(1, 2, 8, 5\)"),
        (bytes.fromhex("02000000 01000000 04000000 04000000 0000803f 000000bf"), r"header \(2, 1, 4, 4\)"),
        (b"\x89PNG\r\n\x1a\n" * 4, "is not that of a feature file"),
    ],
)
def test_a_hostile_feature_file_is_refused_by_name(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "f.bin").write_bytes(data)
    with pytest.raises(FeatureError, match=says) as error:
        read_feature(tmp_path / "f.bin")
    assert str(tmp_path / "f.bin") in str(error.value)


def test_a_tree_and_its_list_go_out_and_come_back(tmp_path: Path) -> None:
    written = people(tmp_path)
    write_tree(written, tmp_path / "tree", "_algo.bin")
    write_photo_list(tmp_path / "list.json", written.paths, written.labels)

    read = read_tree(tmp_path / "tree", tmp_path / "list.json")

    assert (tmp_path / "tree" / "Ann_A" / "Ann_A_1.png_algo.bin").stat().st_size == 16 + 5 * 4
    assert np.array_equal(read.features, written.features)
    assert read.labels.tolist() == ["Ann_A", "Ann_A", "Bob"]
    assert read.paths.tolist() == written.paths.tolist()
    assert read.digest == written.digest


def test_a_list_of_distractors_has_no_identities_and_its_order_counts(tmp_path: Path) -> None:
    write_tree(people(tmp_path), tmp_path / "tree", "_algo.bin")
    (tmp_path / "list.json").write_text('{"path": ["Bob/Bob_7.png", "Ann_A/Ann_A_2.png"]}')
    read = read_tree(tmp_path / "tree", tmp_path / "list.json")
    assert read.labels.tolist() == ["", ""]
    assert np.array_equal(read.features, np.eye(3, 5)[[2, 1]])


def test_of_two_algorithms_in_one_tree_the_ending_says_which(tmp_path: Path) -> None:
    write_tree(people(tmp_path), tmp_path / "tree", "_a.bin")
    write_tree(people(tmp_path), tmp_path / "tree", "_b.bin")
    write_photo_list(tmp_path / "list.json", people(tmp_path).paths)
    with pytest.raises(FeatureError, match=r"_a\.bin, _b\.bin; one feature file a photo is needed"):
        read_tree(tmp_path / "tree", tmp_path / "list.json")
    assert len(read_tree(tmp_path / "tree", tmp_path / "list.json", "_b.bin")) == 3


def test_missing_and_odd_feature_files_are_counted_and_named(tmp_path: Path) -> None:
    write_tree(people(tmp_path), tmp_path / "tree", "_a.bin")
    write_photo_list(tmp_path / "list.json", people(tmp_path).paths)
    write_feature(tmp_path / "tree" / "Bob" / "Bob_7.png_a.bin", np.ones(4, np.float32))
    with pytest.raises(FeatureError, match=r"Bob_7\.png_a\.bin: 4 numbers, but .* has 5"):
        read_tree(tmp_path / "tree", tmp_path / "list.json")
    (tmp_path / "tree" / "Bob" / "Bob_7.png_a.bin").unlink()
    with pytest.raises(FeatureError, match=r"1 of 3 feature files are missing, such as Bob/Bob_7\.png_a\.bin"):
        read_tree(tmp_path / "tree", tmp_path / "list.json")


def test_a_nan_in_a_tree_is_found_and_its_photo_named(tmp_path: Path) -> None:
    write_tree(people(tmp_path), tmp_path / "tree", "_a.bin")
    write_photo_list(tmp_path / "list.json", people(tmp_path).paths)
    write_feature(tmp_path / "tree" / "Bob" / "Bob_7.png_a.bin", np.full(5, np.nan, np.float32))
    with pytest.raises(FeatureError, match=r"row 2 \(Bob/Bob_7\.png\) is not finite"):
        read_tree(tmp_path / "tree", tmp_path / "list.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not a readable JSON"),
        ('{"path": "a.jpg"}', "not a list of photos"),
        ('{"path": []}', "not a list of photos"),
        ('{"path": ["a.jpg", 3]}', "not a list of photos"),
        ('{"path": ["a.jpg"], "id": ["x", "y"]}', "`id` must name the person of each of the 1"),
        ('{"path": ["a.jpg", "b.jpg"], "id": [null, null]}', "`id` must name the person of each of the 2"),
        ('{"path": ["a.jpg", "b.jpg"], "id": [true, 1]}', "`id` must name the person of each of the 2"),
        ('{"path": ["a.jpg", "../../etc/x"]}', "no path inside the folder"),
        ('{"path": ["/etc/x"]}', "no path inside the folder"),
        (r'{"path": ["a\ud800.jpg"]}', "no path inside the folder"),
        ("[" * 100_000, "not a readable JSON"),
    ],
)
def test_a_hostile_list_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DevkitError, match=says):
        read_photo_list(tmp_path / "list.json")


def test_paths_that_the_devkit_cannot_hold_are_not_written(tmp_path: Path) -> None:
    rows = np.eye(2, dtype=np.float32)
    twice = feature_set(rows, np.array(["a", "b"]), np.array(["x.jpg", "x.jpg"]), tmp_path)
    with pytest.raises(FeatureError, match="a photo is there twice"):
        write_tree(twice, tmp_path / "tree", "_a.bin")
    outside = feature_set(rows, np.array(["a", "b"]), np.array(["x.jpg", "../y.jpg"]), tmp_path)
    with pytest.raises(FeatureError, match="relative to its folder"):
        write_tree(outside, tmp_path / "tree", "_a.bin")
    assert not (tmp_path / "tree").exists()


def curve(*points: tuple[float, float]) -> Curve:
    x, y = np.array(points, np.float64).T
    return Curve("N = 10", x, y)


def test_results_have_the_devkits_keys_ranks_from_zero_and_float32_numbers(tmp_path: Path) -> None:
    path = tmp_path / results_name("algo", 10, 1)
    write_devkit_results(path, curve((1, 0.1), (2, 0.4), (11, 1)), curve((1e-6, 0.3), (1, 1)), curve((1, 0.2), (2, 1)))
    assert path.name == "cmc_facescrub_megaface_algo_10_1.json"
    assert json.loads(path.read_text()) == {
        "cmc": [[0, 1, 10], [float(np.float32(0.1)), float(np.float32(0.4)), 1]],
        "roc": [[float(np.float32(1e-6)), 1], [float(np.float32(0.3)), 1]],
        "traditional_cmc": [[0, 1], [float(np.float32(0.2)), 1]],
    }


def test_a_long_cmc_is_thinned_but_keeps_its_ends(tmp_path: Path) -> None:
    n = 1_000_000
    long = Curve("", np.arange(1.0, n + 2), np.linspace(0.5, 1, n + 1))
    write_devkit_results(tmp_path / "cmc.json", long, curve((0, 0), (1, 1)))
    ranks, rates = json.loads((tmp_path / "cmc.json").read_text())["cmc"]
    assert (ranks[0], rates[0], ranks[-1], rates[-1]) == (0, 0.5, n, 1)
    assert ranks[:10] == list(range(10))
    assert len(ranks) < 1100
    assert ranks == sorted(set(ranks))


def test_other_peoples_results_are_read_with_their_counts_where_these_can_be_known(tmp_path: Path) -> None:
    # Published: rank-1 0.98573232 of one million distractors, which is 151,442 of 153,634 pairs.
    path = tmp_path / "cmc_facescrub_megaface_r100-a_b_1000000_1.json"
    path.write_text(json.dumps({"cmc": [[0, 1000000], [0.98573232, 1]], "roc": [[0, 1], [0.5, 1]]}))

    results = read_devkit_results(path)

    (row,) = results.identification
    assert (results.protocol, results.name) == ("megaface", "r100-a_b")
    assert (row.distractors, row.set, row.rank1.hits, row.rank1.trials) == (1_000_000, 1, 151_442, 153_634)
    (cmc,) = results.curves.cmc
    assert (cmc.label, cmc.x.tolist(), cmc.y.tolist()) == ("N = 1,000,000", [1, 1_000_001], [0.98573232, 1])
    assert results.curves.roc[0].x.tolist() == [0, 1]
    assert results.curves.traditional_cmc == ()


def test_a_rate_that_no_count_of_the_published_list_gives_stays_without_counts(tmp_path: Path) -> None:
    path = tmp_path / "cmc_facescrub_megaface_a_10_1.json"
    path.write_text(json.dumps({"cmc": [[0, 10], [0.5 + 0.4 / 153_634, 1]]}))
    results = read_devkit_results(path)
    assert results.identification == ()
    assert "its counts are not known" in results.notes[0]


@pytest.mark.parametrize(
    "record",
    [
        {"roc": [[0], [1]]},
        {"cmc": [[0, 1], [1]]},
        {"cmc": [[], []]},
        {"cmc": [[0], ["one"]]},
        {"cmc": 3},
        {"cmc": [[0], [float("nan")]]},
        {"cmc": [[0], [1.5]]},
        {"cmc": [[-1], [1]]},
        {"cmc": [[10**400], [1]]},
    ],
)
def test_hostile_results_are_refused_by_name(tmp_path: Path, record: object) -> None:
    path = tmp_path / "cmc_facescrub_megaface_a_10_1.json"
    path.write_text(json.dumps(record))
    with pytest.raises(DevkitError, match="cmc_facescrub"):
        read_devkit_results(path)


def test_a_name_with_more_distractors_than_there_are_photos_in_the_world_tells_no_number() -> None:
    assert RESULTS_NAME.fullmatch(results_name("net", 10**6, 1))
    assert not RESULTS_NAME.fullmatch(results_name("net", 10**30, 1))


def test_noisy_photos_are_marked_by_name_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "probes.txt").write_text("# list of noises\nAnn_A_2.png\n\nZoe_1.png\n")
    (tmp_path / "distractors.txt").write_text("# list\n7\t1/2/3.jpg\n8\t1/22/3.jpg\n")
    probes = np.array(["Ann_A/Ann_A_2.png", "Ann_A/BAnn_A_2.png", "/data/Zoe/Zoe_1.png", "Ann_A_2.png/x.png"])
    distractors = np.array(["/mega/1/2/3.jpg", "11/2/3.jpg", "1/2/3.jpg.png", "1/22/3.jpg", "3.jpg"])
    assert noisy(probes, read_noises(tmp_path / "probes.txt")).tolist() == [True, False, True, False]
    assert noisy(distractors, read_noises(tmp_path / "distractors.txt")).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("data", [b"", b"# only a comment\n", b"\xff\xfe\x00"])
def test_a_noise_list_that_names_nothing_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "noises.txt").write_bytes(data)
    with pytest.raises(NoiseListError, match=r"noises\.txt"):
        read_noises(tmp_path / "noises.txt")
