"""Models are found by name or path, taken in from ONNX, copied out, checked, and keep their thresholds beside them."""

import hashlib
import json
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
import onnx
from onnx import helper, numpy_helper

from benchmarks.inputs.aligned_crops import input_crop
from faceid.models import model_zoo
from faceid.models.embedding import Embedder
from faceid.models.model_file import DESCRIPTION_KEY, ModelError, ModelSpec, read_model, write_model
from faceid.models.model_zoo import (
    DEFAULT_MODEL,
    export_model,
    find_model,
    import_onnx,
    list_models,
    load_calibrations,
    save_calibrations,
    verify_model,
)
from faceid.vision.alignment import reference_points
from faceid.vision.images import decode
from indexer.decision.decision import Calibration
from tests.faceid.hand_made_network import SIDE, corner_crop, corner_network, write_network
from tests.odd_files import put_odd_file


@pytest.fixture(autouse=True)
def models_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def corner(tmp_path: Path) -> Path:
    return corner_network(tmp_path / "Corner Net.onnx")


def calibration(digest: str) -> Calibration:
    scores = np.array([0.5, 0.25], np.float32)
    return Calibration("far", scores, 100, None, None, None, digest, "float32", "made up", "2026-11-22")


def test_an_imported_network_is_found_by_name_and_by_path(corner: Path, models_directory: Path) -> None:
    model = import_onnx(corner, "mine", licence="MIT", training_data="faces of ours")

    assert find_model("mine").digest == model.digest
    assert find_model(models_directory / "mine.safetensors").digest == model.digest
    assert find_model(str(models_directory / "mine.safetensors")).digest == model.digest
    assert [(listed.name, listed.shipped) for listed in list_models() if not listed.shipped] == [("mine", False)]
    assert (model.spec.dimension, model.spec.licence, model.spec.input_size) == (2, "MIT", (SIDE, SIDE))


def test_the_name_defaults_to_the_files(corner: Path) -> None:
    assert import_onnx(corner).spec.name == "corner-net"


@pytest.mark.parametrize("name", ["", "Upper", "../up", ".hidden", "a/b", "a b", "x" * 65, "nul\0"])
def test_a_name_that_is_no_file_name_is_refused(corner: Path, name: str) -> None:
    with pytest.raises(ModelError, match="no name for a model"):
        import_onnx(corner, name)


def test_a_name_is_only_taken_over_when_asked(corner: Path, tmp_path: Path) -> None:
    first = import_onnx(corner, "mine")
    other = corner_network(tmp_path / "other.onnx", weight=2)

    with pytest.raises(ModelError, match="already"):
        import_onnx(other, "mine")
    assert find_model("mine").digest == first.digest

    assert import_onnx(other, "mine", replace=True).digest == find_model("mine").digest != first.digest


def test_an_unknown_name_says_which_there_are(corner: Path) -> None:
    import_onnx(corner, "mine")

    with pytest.raises(ModelError, match="mine"):
        find_model("yours")


def test_without_the_default_model_one_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_zoo, "_shipped_directory", lambda: tmp_path)
    with pytest.raises(ModelError, match="faceid models import"):
        find_model()


def test_the_default_model_comes_with_the_package() -> None:
    assert find_model().path == find_model(DEFAULT_MODEL).path
    (listed,) = [listed for listed in list_models() if listed.name == DEFAULT_MODEL]
    assert listed.shipped


def test_a_damaged_model_is_listed_with_its_error(corner: Path, models_directory: Path) -> None:
    import_onnx(corner, "sound")
    (models_directory / "broken.safetensors").write_bytes(b"torn")

    broken, sound = (listed for listed in list_models() if not listed.shipped)

    assert broken.model is None
    assert "broken.safetensors" in str(broken.error)
    assert sound.model is not None
    assert sound.error is None


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.cohort"])
def test_a_name_by_which_a_model_would_not_be_found_is_refused(corner: Path, models_directory: Path, name: str) -> None:
    with pytest.raises(ModelError, match="choose another --name"):
        import_onnx(corner, name)
    assert not models_directory.exists() or not list(models_directory.iterdir())


@pytest.mark.parametrize(
    ("batch", "shape_batch", "recorded"), [("batch", -1, None), (1, -1, 1), (4, -1, 4), ("batch", 1, 1)]
)
def test_the_batch_a_network_truly_takes_is_recorded(
    tmp_path: Path, batch: int | str, shape_batch: int, recorded: int | None
) -> None:
    source = corner_network(tmp_path / "network.onnx", batch, shape_batch=shape_batch)

    model = import_onnx(source, mean=100, std=25)

    assert model.spec.arguments == {"batch": recorded}
    crops = np.stack([corner_crop((175, 0, 200)), corner_crop((200, 0, 175))])
    np.testing.assert_allclose(Embedder(model).embed(crops), [[0.6, 0.8], [0.8, 0.6]], atol=1e-6)


def _flat(output: str = "embeddings") -> onnx.NodeProto:
    return helper.make_node("Flatten", ["crops"], [output])


@pytest.mark.parametrize(
    ("nodes", "input_shape", "output_shape", "reason"),
    [
        ([_flat()], ["n", 1, SIDE, SIDE], ["n", SIDE * SIDE], "3 channels"),
        ([_flat()], ["n", 3, SIDE], ["n", 3 * SIDE], "takes one input"),
        (
            [helper.make_node("Identity", ["crops"], ["embeddings"])],
            ["n", 3, 8, 8],
            ["n", 3, 8, 8],
            "one row of numbers a face",
        ),
        ([_flat("f"), helper.make_node("Log", ["f"], ["embeddings"])], ["n", 3, 8, 8], ["n", 192], "not finite"),
        (
            [_flat("f"), helper.make_node("Sub", ["f", "f"], ["embeddings"])],
            ["n", 3, 8, 8],
            ["n", 192],
            "same values for two different",
        ),
        (
            [
                _flat("f"),
                helper.make_node("RandomNormalLike", ["f"], ["r"]),
                helper.make_node("Add", ["f", "r"], ["embeddings"]),
            ],
            ["n", 3, 8, 8],
            ["n", 192],
            "draws lots",
        ),
        (
            [_flat("f"), helper.make_node("ReduceMax", ["f"], ["embeddings"], axes=[1], keepdims=1)],
            ["n", 3, 8, 8],
            ["n", 1],
            "1 values a face",
        ),
        (
            [
                _flat("f"),
                helper.make_node("Neg", ["f"], ["g"]),
                helper.make_node("Concat", ["f", "g"], ["embeddings"], axis=0),
            ],
            ["n", 3, 8, 8],
            ["m", 192],
            r"an output of \[2, 192\] for 1 crops",
        ),
        ([_flat()], ["n", 3, "h", "w"], ["n", "d"], "does not state its input size"),
        ([_flat()], [5000, 3, 8, 8], [5000, 192], "5000 crops at a time"),
    ],
    ids=[
        "grey",
        "rank 3",
        "image out",
        "not finite",
        "constant",
        "random",
        "one number",
        "two rows a face",
        "free size",
        "huge batch",
    ],
)
def test_a_network_that_is_no_face_network_is_refused(
    tmp_path: Path,
    nodes: list[onnx.NodeProto],
    input_shape: list[int | str],
    output_shape: list[int | str],
    reason: str,
) -> None:
    source = write_network(tmp_path / "odd.onnx", nodes, [], input_shape, output_shape)

    with pytest.raises(ModelError, match=reason) as refusal:
        import_onnx(source)

    assert str(source) in str(refusal.value)
    assert all(listed.shipped for listed in list_models()), "nothing was taken in"


def test_a_network_whose_answer_depends_on_the_crops_beside_is_refused(tmp_path: Path) -> None:
    nodes = [
        _flat("flat"),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Add", ["flat", "mean"], ["embeddings"]),
    ]
    source = write_network(tmp_path / "odd.onnx", nodes, [], [4, 3, 8, 8], [4, 192])
    with pytest.raises(ModelError, match="depends on the 3 beside it"):
        import_onnx(source)


def test_a_model_file_is_told_what_to_do_instead_of_an_import(corner: Path, tmp_path: Path) -> None:
    import_onnx(corner, "mine")
    copy = export_model("mine", tmp_path / "copy.safetensors")
    with pytest.raises(ModelError, match="a model file is not imported: give its path"):
        import_onnx(copy)


def test_a_size_that_the_network_does_not_take_is_refused(corner: Path) -> None:
    with pytest.raises(ModelError, match="takes 8x8"):
        import_onnx(corner, input_size=(112, 112))


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "noise.onnx"
    source.write_bytes(b"\x08\x07 surely not a network")

    with pytest.raises(ModelError, match=r"noise\.onnx"):
        import_onnx(source)
    with pytest.raises(ModelError, match="cannot be read"):
        import_onnx(tmp_path / "nothing.onnx", "nothing")


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    source = corner_network(tmp_path / "split.onnx")
    onnx.save(onnx.load(source), source, save_as_external_data=True, location="split.data", size_threshold=0)

    with pytest.raises(ModelError, match="external data"):
        import_onnx(source)


def test_reference_points_follow_the_input_size(tmp_path: Path) -> None:
    def points_of(height: int, width: int) -> np.ndarray:
        nodes = [_flat("flat"), helper.make_node("MatMul", ["flat", "weights"], ["embeddings"])]
        weights = numpy_helper.from_array(np.ones((3 * height * width, 2), np.float32), "weights")
        source = write_network(tmp_path / "n.onnx", nodes, [weights], [1, 3, height, width], [1, 2])
        return import_onnx(source, replace=True).spec.reference_points

    assert points_of(112, 112)[0, 0] == np.float32(38.2946)
    assert points_of(112, 96)[0, 0] == np.float32(30.2946)
    np.testing.assert_allclose(points_of(56, 56)[0, 0], (38.2946 + 0.5) / 2 - 0.5, rtol=1e-6)
    with pytest.raises(ModelError, match="reference points"):
        points_of(112, 80)


def test_an_exported_model_is_the_same_model(corner: Path, tmp_path: Path) -> None:
    model = import_onnx(corner, "mine")

    copy = export_model("mine", tmp_path / "copy.safetensors")
    network = export_model("mine", tmp_path / "back.onnx")

    assert read_model(copy).digest == model.digest
    assert network.read_bytes() == corner.read_bytes()
    with pytest.raises(ModelError, match="already"):
        export_model("mine", copy)
    with pytest.raises(ModelError, match="ends in"):
        export_model("mine", tmp_path / "copy.pt")


def test_our_own_network_survives_export_and_import(tmp_path: Path) -> None:
    from faceid.models.networks import build_network

    arguments = {"width": 0.125, "dimension": 16, "input_size": [32, 32]}
    network = build_network("sphereface4", **arguments)
    spec = ModelSpec(
        name="small",
        architecture="sphereface4",
        arguments=arguments,
        input_size=(32, 32),
        colour="rgb",
        mean=127.5,
        std=128.0,
        reference_points=reference_points(32, 32),
        flip="none",
        dimension=16,
    )
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    ours = write_model(tmp_path / "small.safetensors", spec, state)

    imported = import_onnx(export_model(ours.path, tmp_path / "small.onnx"))

    crops = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    assert imported.spec.arguments == {"batch": None}
    assert (Embedder(ours).embed(crops) * Embedder(imported).embed(crops)).sum(1).min() >= 1 - 1e-6


@pytest.mark.slow
def test_the_shipped_networks_onnx_agrees_on_real_crops(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "faces-003.tar") as pack:
        members = [member for member in pack if member.isfile()][:: 6000 // 24]
        photos = [pack.extractfile(member) for member in members]
        images = [decode(photo.read(), Path("photo")).rgb for photo in photos if photo is not None]
    ours = find_model()
    imported = import_onnx(export_model(ours.path, tmp_path / "shipped.onnx"), flip=ours.spec.flip)
    crops = np.stack([input_crop(image, ours.spec, Path("photo")) for image in images])
    cosines = (Embedder(ours).embed(crops) * Embedder(imported).embed(crops)).sum(1)
    assert len(cosines) >= 24
    assert cosines.min() >= 0.9999


def test_a_sound_model_passes_and_a_damaged_one_does_not(corner: Path, models_directory: Path) -> None:
    model = import_onnx(corner, "mine")
    assert verify_model("mine").digest == model.digest

    path = models_directory / "mine.safetensors"
    content = bytearray(path.read_bytes())
    content[struct.unpack("<Q", content[:8])[0] + 8 + 40] ^= 1  # a byte of the network
    path.write_bytes(content)

    with pytest.raises(ModelError, match="not those that were written"):
        verify_model("mine")


def test_a_model_whose_description_is_wrong_does_not_pass(corner: Path, models_directory: Path) -> None:
    model = import_onnx(corner, "mine")
    write_model(model.path, replace(model.spec, dimension=3), model.tensors())

    with pytest.raises(ModelError, match="says 3 values"):
        verify_model("mine")


def test_thresholds_are_kept_beside_the_model_which_does_not_change(corner: Path) -> None:
    model = import_onnx(corner, "mine")
    assert load_calibrations(model) == []

    save_calibrations(model, [calibration(model.digest)])

    (loaded,) = load_calibrations(find_model("mine"))
    np.testing.assert_array_equal(loaded.scores, [0.5, 0.25])
    assert find_model("mine").digest == model.digest


def test_a_flipped_bit_in_the_thresholds_file_is_refused(corner: Path) -> None:
    model = import_onnx(corner, "mine")
    path = save_calibrations(model, [calibration(model.digest)])
    sound = path.read_bytes()
    for place in range(len(sound)):
        for bit in range(8):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ModelError, match="delete it and run"):
                load_calibrations(model)


def test_a_thresholds_file_of_an_older_program_is_read(corner: Path) -> None:
    model = import_onnx(corner, "mine")
    path = save_calibrations(model, [calibration(model.digest)])
    record = json.loads(path.read_text())
    del record["sha256"]
    path.write_text(json.dumps(record))

    assert len(load_calibrations(model)) == 1


@pytest.mark.parametrize("name", ["sphereface", "sphereface-scratch"])
def test_a_flipped_bit_in_a_shipped_model_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = find_model(name).path
    content = shipped.read_bytes()
    monkeypatch.setattr(model_zoo, "_shipped_directory", lambda: tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    copy = tmp_path / "weights" / shipped.name
    copy.write_bytes(content)
    assert find_model(name).digest == hashlib.sha256(content).hexdigest()
    header = content[8 : 8 + struct.unpack("<Q", content[:8])[0]]
    for place, told in [
        (8 + header.index(b"0.") + 2, "its description is not the one that was written"),
        (8 + header.index(DESCRIPTION_KEY.encode()), "unknown entries"),
        (8 + len(header) + 1_000_000, "not those that were written"),
    ]:
        damaged = bytearray(content)
        damaged[place] ^= 1  # a digit of the description; the name of its digest; a weight
        copy.write_bytes(damaged)
        with pytest.raises(ModelError, match=told):
            find_model(name)


def test_thresholds_of_another_model_are_refused(corner: Path, tmp_path: Path) -> None:
    model = import_onnx(corner, "mine")
    with pytest.raises(ModelError, match="cannot serve"):
        save_calibrations(model, [calibration("0" * 64)])

    save_calibrations(model, [calibration(model.digest)])
    successor = import_onnx(corner_network(tmp_path / "new.onnx", weight=2), "mine", replace=True)

    assert load_calibrations(successor) == []


def test_thresholds_that_come_in_the_header_are_used_until_others_are_measured(corner: Path) -> None:
    model = import_onnx(corner, "mine")
    shipped = calibration("the digest is not known while the header is written")
    model = write_model(model.path, replace(model.spec, calibrations=(shipped.to_record(),)), model.tensors())

    (from_header,) = load_calibrations(model)
    assert from_header.model_digest == model.digest

    save_calibrations(model, [])
    assert load_calibrations(model) == []


def test_a_damaged_threshold_table_is_an_error(corner: Path) -> None:
    model = import_onnx(corner, "mine")
    path = save_calibrations(model, [calibration(model.digest)])
    path.write_text(path.read_text()[:-20])

    with pytest.raises(ModelError, match=r"calibration\.json: damaged"):
        load_calibrations(model)


@pytest.mark.parametrize("put", ["deep", "pipe", "folder", "loop", "endless", "huge"])
def test_a_threshold_table_that_is_no_sound_file_says_what_to_do(corner: Path, put: str) -> None:
    model = import_onnx(corner, "mine")
    path = save_calibrations(model, [calibration(model.digest)])
    path.unlink()
    if put == "deep":
        path.write_text("[" * 200_000)
    elif put == "loop":
        path.symlink_to(path)
    else:
        put_odd_file(path, put)

    with pytest.raises(ModelError, match=r"calibration\.json: damaged .*delete it and run `faceid models calibrate`"):
        load_calibrations(model)
