"""MTCNN: the networks in ONNX Runtime and in PyTorch against a NumPy oracle, the cascade on real and awkward photos."""

import io
import math
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceid.vision import mtcnn
from faceid.vision.detection import DetectorError
from faceid.vision.mtcnn import Candidates, MtcnnDetector, pyramid, suppress, suppress_nested
from faceid.vision.mtcnn_networks import OnnxNetworks
from faceid.vision.mtcnn_torch import TorchNetworks
from faceid.vision.mtcnn_weights import load_weights

# --- The oracle: the layers in plain NumPy, float64, on one window or crop [H, W, C].


def convolution(x, kernel, bias):
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(0, 1))  # [h, w, C, kh, kw]
    return np.einsum("hwcij,ocij->hwo", windows, kernel.astype(np.float64)) + bias


def prelu(x, slope):
    return np.where(x > 0, x, x * slope)


def max_pool(x, side, stride, padding):
    sizes = [math.ceil(n / stride) if padding == "same" else (n - side) // stride + 1 for n in x.shape[:2]]
    pooled = np.empty((*sizes, x.shape[2]))
    for row in range(sizes[0]):
        for column in range(sizes[1]):
            window = x[row * stride : row * stride + side, column * stride : column * stride + side]
            pooled[row, column] = window.max(axis=(0, 1))
    return pooled


def columns_first(x):
    return x.transpose(1, 0, 2).reshape(-1)


def oracle_pnet(x, w):
    x = max_pool(prelu(convolution(x, *w["conv1"]), *w["prelu1"]), 2, 2, "same")
    x = prelu(convolution(x, *w["conv2"]), *w["prelu2"])
    x = prelu(convolution(x, *w["conv3"]), *w["prelu3"])
    return convolution(x, *w["offsets"]), convolution(x, *w["face"])[..., 0]


def oracle_rnet(x, w):
    x = max_pool(prelu(convolution(x, *w["conv1"]), *w["prelu1"]), 3, 2, "same")
    x = max_pool(prelu(convolution(x, *w["conv2"]), *w["prelu2"]), 3, 2, "valid")
    x = prelu(convolution(x, *w["conv3"]), *w["prelu3"])
    x = prelu(dense(columns_first(x), *w["dense4"]), *w["prelu4"])
    return dense(x, *w["offsets"]), dense(x, *w["face"])[0]


def oracle_onet(x, w):
    x = max_pool(prelu(convolution(x, *w["conv1"]), *w["prelu1"]), 3, 2, "same")
    x = max_pool(prelu(convolution(x, *w["conv2"]), *w["prelu2"]), 3, 2, "valid")
    x = max_pool(prelu(convolution(x, *w["conv3"]), *w["prelu3"]), 2, 2, "same")
    x = prelu(convolution(x, *w["conv4"]), *w["prelu4"])
    x = prelu(dense(columns_first(x), *w["dense5"]), *w["prelu5"])
    return dense(x, *w["offsets"]), dense(x, *w["landmarks"]), dense(x, *w["face"])[0]


def dense(x, matrix, bias):
    return matrix.astype(np.float64) @ x + bias


def layers(network):
    """The arrays of one network's layers, by name: kernel and bias, or slope."""
    weights = load_weights()
    names = sorted({name.split(".")[1] for name in weights if name.startswith(f"{network}.")})
    return {
        name: [weights[key] for part in ("weight", "bias") if (key := f"{network}.{name}.{part}") in weights]
        for name in names
    }


@pytest.fixture(params=["ONNX Runtime", "PyTorch"])
def networks(request):
    return OnnxNetworks(load_weights()) if request.param == "ONNX Runtime" else TorchNetworks(load_weights(), "cpu")


@pytest.mark.parametrize("size", [(12, 12), (19, 26)], ids=["one window", "odd: a pooling window hangs over the edge"])
def test_pnet_equals_the_oracle_where_it_sees_a_face(networks, size):
    x = np.random.default_rng(5).uniform(-1, 1, (2, *size, 3)).astype(np.float32)

    position, row, column, offsets, logits = networks.propose(x, -math.inf)

    for index, level in enumerate(x.astype(np.float64)):
        expected_offsets, expected = oracle_pnet(level, layers("pnet"))
        here = position == index
        assert here.sum() == expected.size
        np.testing.assert_allclose(logits[here], expected[row[here], column[here]], atol=2e-5)
        np.testing.assert_allclose(offsets[here], expected_offsets[row[here], column[here]], atol=2e-5)
    middle = float(np.median(logits))
    assert len(networks.propose(x, middle)[4]) == (logits > middle).sum()


@pytest.mark.parametrize(
    ("step", "oracle", "name", "side"), [("refine", oracle_rnet, "rnet", 24), ("locate", oracle_onet, "onet", 48)]
)
def test_the_closer_looks_equal_the_oracle(networks, step, oracle, name, side):
    photo = np.random.default_rng(6).uniform(-1, 1, (side, 2 * side, 3)).astype(np.float32)
    boxes = np.array([[0, 0, side, side], [side, 0, 2 * side, side]], np.float32)
    held = networks.hold(photo)
    crops = [networks.cut(held, mtcnn.sampling_points(boxes[[i]], side, photo.shape[:2])) for i in range(2)]

    outputs = getattr(networks, step)(crops)

    for index in range(2):
        crop = photo[:, index * side : (index + 1) * side].astype(np.float64)
        for mine, expected in zip(outputs, oracle(crop, layers(name)), strict=True):
            np.testing.assert_allclose(mine[index], expected, atol=5e-5)
    assert [len(output) for output in getattr(networks, step)([])] == [0] * len(outputs)


def test_a_crop_of_the_networks_own_size_is_the_photo_itself(networks):
    photo = np.random.default_rng(1).uniform(-1, 1, (60, 50, 3)).astype(np.float32)
    points = mtcnn.sampling_points(np.array([[11, 7, 35, 31]], np.float32), 24, (60, 50))
    (crop,) = np.asarray(networks.cut(networks.hold(photo), points))
    np.testing.assert_allclose(crop, photo[7:31, 11:35].transpose(2, 0, 1), atol=2e-5)


def test_a_crop_is_mid_grey_beyond_the_photo(networks):
    points = mtcnn.sampling_points(np.array([[-24, 0, 0, 24]], np.float32), 24, (30, 30))
    assert np.abs(np.asarray(networks.cut(networks.hold(np.ones((30, 30, 3), np.float32)), points))).max() < 1e-5


# --- The cascade.


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector()


@pytest.fixture(scope="module")
def reference():
    """The detector with the networks in PyTorch."""
    return MtcnnDetector(networks=TorchNetworks(load_weights(), "cpu"))


@pytest.fixture(scope="module")
def photos(shared):
    names = ["Aaron_Eckhart/Aaron_Eckhart_0001.jpg", "AJ_Cook/AJ_Cook_0001.jpg", "Aaron_Peirsol/Aaron_Peirsol_0001.jpg"]
    with tarfile.open(shared / "data" / "lfw.tar") as archive:
        files = [archive.extractfile(f"lfw/{name}") for name in names]
        return [np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")) for file in files]


def test_a_portrait_gives_one_sure_face_with_its_landmarks_in_their_places(detector, photos):
    (faces,) = detector.detect(photos[:1])
    assert faces.scores[0] > 0.99
    (left_eye, right_eye, nose, left_mouth, right_mouth), (x, y, w, h) = faces.landmarks[0], faces.boxes[0]
    assert abs(x + w / 2 - 96) < 20  # LFW centres its faces in the photo
    assert abs(y + h / 2 - 96) < 20
    assert x < left_eye[0] < nose[0] < right_eye[0] < x + w
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert y < left_eye[1] < nose[1] < left_mouth[1] < y + h


def test_a_batch_of_mixed_sizes_gives_what_each_photo_gives_alone(detector, photos):
    wide = np.concatenate([photos[0], photos[1]], axis=1)
    tall = np.concatenate([photos[2], photos[0]], axis=0)[:300]
    batch = [photos[0], wide, photos[1], np.zeros((5, 40, 3), np.uint8), tall, photos[2]]
    together = detector.detect(batch)
    assert [len(faces) for faces in together] == [1, 2, 1, 0, 2, 1]
    for image, faces in zip(batch, together, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_allclose(faces.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(faces.landmarks, alone.landmarks, atol=1e-3)
        np.testing.assert_allclose(faces.scores, alone.scores, atol=1e-5)


def test_the_same_call_gives_the_same_bits(detector, photos):
    for first, second in zip(detector.detect(photos), detector.detect(photos), strict=True):
        np.testing.assert_array_equal(first.landmarks, second.landmarks)


def test_small_chunks_find_the_same_faces(detector, photos, monkeypatch):
    whole = detector.detect(photos)
    monkeypatch.setattr(mtcnn, "CHUNK_PIXELS", 1)
    monkeypatch.setattr(OnnxNetworks, "level_pixels", 1)
    monkeypatch.setattr(OnnxNetworks, "crops", 3)
    for faces, expected in zip(detector.detect(photos), whole, strict=True):
        np.testing.assert_allclose(faces.landmarks, expected.landmarks, atol=1e-3)


def test_onnx_runtime_finds_what_pytorch_finds(detector, reference, photos):
    several = [*photos, np.concatenate(photos, axis=1)]
    for ours, theirs in zip(detector.detect(several), reference.detect(several), strict=True):
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=2e-3)  # pixels
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=2e-3)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


def test_a_photo_over_the_largest_side_is_searched_smaller_and_answered_in_its_own_pixels(detector, photos):
    large = np.asarray(Image.fromarray(photos[0]).resize((1920, 1920), Image.Resampling.BICUBIC))  # 10 times as large
    (small_faces,), (large_faces,) = detector.detect(photos[:1]), detector.detect([large])
    expected = (small_faces.landmarks + 0.5) * 10 - 0.5
    assert np.abs(large_faces.landmarks - expected).max() < 50  # 5 px of the photo of 192


def test_faces_much_smaller_than_asked_for_are_not_looked_for(detector, photos):
    small = np.full((192, 192, 3), 128, np.uint8)
    small[64:112, 64:112] = np.asarray(Image.fromarray(photos[0]).resize((48, 48), Image.Resampling.BOX))
    demanding = MtcnnDetector(min_face_size=80)  # at which the package's pyramid would go on below 12 px
    assert [len(faces) for faces in detector.detect([photos[0], small])] == [1, 1]
    assert [len(faces) for faces in demanding.detect([photos[0], small])] == [1, 0]


@pytest.mark.parametrize("size", [(1, 1), (5, 3000), (3000, 5), (19, 40), (20, 20), (1, 3000), (64, 64)])
def test_an_awkward_photo_gives_no_face_and_no_error(detector, size):
    (faces,) = detector.detect([np.full((*size, 3), 128, np.uint8)])
    assert (faces.boxes.shape, faces.landmarks.shape, faces.scores.shape) == ((0, 4), (0, 5, 2), (0,))


def test_noise_neither_crashes_nor_shows_faces_outside_the_photo(detector):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    (faces,) = detector.detect([noise])
    assert (faces.boxes >= 0).all()
    assert (faces.boxes[:, :2] + faces.boxes[:, 2:] <= [160, 120]).all()


def test_no_photos_give_no_results(detector):
    assert detector.detect([]) == []


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_an_array_that_is_no_rgb_photo_is_refused_by_its_place(detector, image):
    with pytest.raises(DetectorError, match=r"image 1 is .* takes uint8"):
        detector.detect([np.zeros((9, 9, 3), np.uint8), image])


@pytest.mark.slow
def test_forty_threads_find_what_one_finds_and_leave_pytorchs_threads_alone(detector, photos):
    alone = detector.detect(photos)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda number: (number % 3, detector.detect([photos[number % 3]])[0]), range(80)))
        inside = set(pool.map(lambda _: torch.get_num_threads(), range(80)))
    for number, faces in found:
        np.testing.assert_allclose(faces.landmarks, alone[number].landmarks, atol=1e-3)
    assert {torch.get_num_threads(), *inside} == {before}


def test_faces_are_found_without_pytorch():
    program = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from faceid.vision.mtcnn import MtcnnDetector; "
        "print(len(MtcnnDetector().detect([np.zeros((64, 64, 3), np.uint8)])[0]))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "0"


def test_a_device_that_needs_pytorch_says_so():
    program = (
        "import sys; sys.modules['torch'] = None; from faceid.vision.mtcnn import MtcnnDetector; "
        "MtcnnDetector(device='cuda')"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr
    assert "DetectorError: device 'cuda' needs PyTorch" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda_is_refused_with_the_way_out(device):
    with pytest.raises(DetectorError, match=rf"device '{device}' was asked for.*use 'cpu'"):
        MtcnnDetector(device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_cuda_finds_what_the_cpu_finds(detector, photos):
    for there, here in zip(MtcnnDetector(device="cuda").detect(photos), detector.detect(photos), strict=True):
        np.testing.assert_allclose(there.landmarks, here.landmarks, atol=0.05)


@pytest.mark.parametrize(
    "wrong", [{"device": "abacus"}, {"min_face_size": 11}, {"scale_factor": 1.0}, {"thresholds": (0.6, 0.7, 1.5)}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises((ValueError, DetectorError), match=next(iter(wrong))):
        MtcnnDetector(**wrong)


# --- The parts.


def test_the_pyramid_ends_where_the_shorter_side_is_smaller_than_the_window():
    assert list(pyramid((192, 192), 20, 0.709))[0::3] == [(115, 115), (41, 41), (14, 14)]
    assert list(pyramid((40, 100), 40, 0.5)) == [(12, 30)]  # the package would go on below 12 px
    assert list(pyramid((39, 100), 40, 0.5)) == []


boxes = st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2), max_size=12)


def candidates(corners_and_sides):
    array = np.asarray(corners_and_sides, np.float32).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return Candidates(np.zeros(len(array), np.intp), array, np.linspace(1, -1, len(array), dtype=np.float32))


def overlap(a, b, of_smaller):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (min(areas) if of_smaller else sum(areas) - shared)


def greedy(found, limit, of_smaller):
    """Greedy suppression as one would write it by hand: a box stays if no box that stayed overlaps it by more."""
    kept = []
    for box in found.boxes.astype(np.float64).tolist():
        if all(overlap(box, better, of_smaller) <= limit for better in kept):
            kept.append(box)
    return kept


@given(boxes)
@settings(deadline=None)
def test_suppression_is_greedy(rows):
    found = candidates(rows)
    assert suppress(found, 0.45).boxes.tolist() == greedy(found, 0.45, of_smaller=False)
    assert found.boxes[suppress_nested(found, 0.71)].tolist() == greedy(found, 0.71, of_smaller=True)


def test_a_suppressed_box_suppresses_nobody():
    found = candidates([(0, 0, 10, 10), (4, 0, 10, 10), (8, 0, 10, 10)])  # neighbours overlap by 0.43
    assert suppress(found, 0.4).boxes[:, 0].tolist() == [0, 8]
