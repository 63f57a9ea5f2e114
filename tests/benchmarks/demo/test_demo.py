"""The demo's people and its story: on generated people, so that a clone alone tests the whole line.

The network of these tests is a linear one, made here from drawn faces by discriminant analysis: it knows these people
well, and nobody else.
"""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from scipy.linalg import eigh

from benchmarks.cli.demo import demo
from benchmarks.demo.cast import Cast, CastSizes, DemoError, cast_of_folder, generated_cast
from benchmarks.demo.face_model import FACE_LANDMARKS, FaceModelError, half_vectors, load_face_model, render
from benchmarks.demo.output_folder import fresh_folder
from benchmarks.demo.page import write_page
from benchmarks.demo.people import PHOTO_SIDE, draw_people, write_people
from benchmarks.demo.story import Story, pair_similarities, rank1_among, tell
from benchmarks.metrics.rates import rate
from faceid.engine import FaceEngine
from faceid.models.model_zoo import find_model, import_onnx
from faceid.vision.alignment import reference_points
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.photo_list import photos_of_people
from faceid.vision.quality import Limits
from indexer.errors import FaceIdError
from indexer.gallery import Gallery

SIDE, POOL = 112, 8
FEW = CastSizes(enrolled=8, photos_each=2, probes_each=1, strangers=6, calibration=24, distractors=24)
FEWEST = CastSizes(enrolled=3, photos_each=1, probes_each=1, strangers=2, calibration=12, distractors=12)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file whose network projects small pictures on what tells drawn people apart."""
    folder = tmp_path_factory.mktemp("network")
    model, rng = load_face_model(), np.random.default_rng(5)
    people = model.sample_people(240, rng)
    # Shifted a little, as detected landmarks are.
    crops = np.stack(
        [
            np.roll(face, rng.integers(-2, 3, 2), axis=(0, 1))[4:116, 4:116]
            for _ in range(4)
            for face in model.sample_faces(people, rng)
        ]
    )
    side = SIDE // POOL
    pooled = crops.reshape(-1, side, POOL, side, POOL, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(len(crops), -1)
    values = (pooled - 127.5) / 128
    grouped = values.reshape(4, 240, -1)
    means = grouped.mean(0)
    deviations = (grouped - means).reshape(len(values), -1)
    within = deviations.T @ deviations / len(values)
    within += 0.02 * np.trace(within) / len(within) * np.eye(len(within))
    last = len(within) - 1
    weights = eigh(np.cov(means.T), within, subset_by_index=[last - 63, last])[1].astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["crops"], ["pooled"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "discriminants",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 64])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array((-values.mean(0) @ weights).astype(np.float32), "bias"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "few.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEID_MODELS", str(folder))
        return import_onnx(folder / "few.onnx", input_size=(SIDE, SIDE)).path


@pytest.fixture(scope="module")
def engine(network: Path) -> FaceEngine:
    return FaceEngine(network)


@pytest.fixture(scope="module")
def story(engine: FaceEngine, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    return tell(engine, generated_cast(folder, FEW), folder)


class TestDrawnPeople:
    def test_a_face_taken_apart_and_put_together_is_the_same(self) -> None:
        rng = np.random.default_rng(0)
        low = rng.integers(80, 160, (6, 6, 3), np.uint8)
        face = np.kron(low, np.ones((20, 20, 1), np.uint8))

        again = render(*half_vectors(face))

        inside = np.abs(again.astype(int) - face)[5:15, 5:15]  # away from edges, which chroma blurs
        assert inside.max() <= 6

    def test_one_seed_draws_the_same_people_and_another_seed_others(self) -> None:
        def pixels(seed: int) -> list[bytes]:
            return [photo.pixels.tobytes() for photos in draw_people(2, 1, seed) for photo in photos]

        assert pixels(1) == pixels(1)
        assert not set(pixels(1)) & set(pixels(2))

    def test_a_person_has_the_same_face_on_all_photos_and_other_people_have_others(self) -> None:
        model, rng = load_face_model(), np.random.default_rng(3)
        people = model.sample_people(40, rng)
        first, second = (np.stack([half_vectors(f)[0] for f in model.sample_faces(people, rng)]) for _ in range(2))
        first, second = first - model.mean, second - model.mean

        own = (first * second).sum(1)
        others = (first * np.roll(second, 1, axis=0)).sum(1)

        assert own.mean() > 3 * abs(others.mean())

    @pytest.mark.slow
    def test_the_default_detector_and_quality_gate_take_the_photos(self, tmp_path: Path, engine: FaceEngine) -> None:
        write_people(tmp_path / "people", 12, 2, seed=11)

        with Gallery.create(tmp_path / "gallery", engine.binding) as gallery:
            enrolled = engine.enroll(gallery, photos_of_people(tmp_path / "people"), limits=Limits())

        assert [photo.reason_codes for photo in enrolled] == [()] * 24
        assert {photo.status for photo in enrolled} == {"enrolled"}

    def test_the_detector_finds_the_landmarks_where_they_were_drawn(self) -> None:
        photos = [photo for photos in draw_people(12, 1, seed=12) for photo in photos]

        found = MtcnnDetector().detect([photo.pixels for photo in photos])

        eyes = np.array([np.linalg.norm(photo.landmarks[1] - photo.landmarks[0]) for photo in photos])
        errors = [
            np.linalg.norm(faces.landmarks[0] - photo.landmarks, axis=1).mean()
            for faces, photo in zip(found, photos, strict=True)
        ]
        assert (np.array(errors) / eyes).mean() < 0.10

    def test_landmarks_of_drawn_faces_are_the_reference_points_of_their_size(self) -> None:
        np.testing.assert_allclose(FACE_LANDMARKS[:, :] - 4, reference_points(112, 112), atol=1e-4)

    def test_photos_lie_in_one_folder_per_person(self, tmp_path: Path) -> None:
        written = write_people(tmp_path, 2, 2, seed=1)

        assert [str(path.relative_to(tmp_path)) for path in written] == [
            "person-0001/1.jpg",
            "person-0001/2.jpg",
            "person-0002/1.jpg",
            "person-0002/2.jpg",
        ]
        assert next(draw_people(1, 1, 1))[0].pixels.shape == (PHOTO_SIDE, PHOTO_SIDE, 3)

    def test_a_damaged_face_model_is_refused_with_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "faces.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
        monkeypatch.setattr("benchmarks.demo.face_model.resources.files", lambda package: tmp_path)

        with pytest.raises(FaceModelError, match=r"faces\.safetensors"):
            load_face_model.__wrapped__()


@pytest.mark.slow
class TestStory:
    def test_known_people_are_identified_and_strangers_are_not(self, story: Story) -> None:
        assert (story.people, story.templates) == (8, 16)
        assert story.rank1.rate >= 0.8
        assert story.fnir.rate <= 0.5
        assert story.fpir.rate <= 0.5
        assert story.genuine.mean() > story.impostor.mean() + 3 * story.impostor.std()

    def test_the_threshold_is_one_that_the_strangers_support(self, story: Story) -> None:
        assert story.threshold.trials == 24
        assert story.threshold.target_value == pytest.approx(3 / 24)
        assert story.threshold.measured

    def test_distractor_sizes_are_those_that_the_cast_reaches(self, story: Story) -> None:
        assert [size for size, _ in story.distractors] == [10]
        assert story.distractors[0][1].trials == 8

    def test_the_page_says_that_faces_are_generated_and_holds_everything_it_shows(
        self, story: Story, tmp_path: Path
    ) -> None:
        html = write_page(story, tmp_path).read_text()

        assert "Generated faces." in html
        assert "Your photos." not in html
        assert html.count("data:image/jpeg;base64,") == 16 + 8 + 6
        assert html.count("data:image/svg+xml;base64,") == 2
        assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)

    def test_a_users_folder_is_shown_as_such_and_its_names_are_text(self, engine: FaceEngine, tmp_path: Path) -> None:
        people = tmp_path / "people"
        write_people(people, 22, 1, seed=21, prefix="once")
        write_people(people, 6, 2, seed=22)
        (people / "person-0001").rename(people / "<b>Ann & Bob")

        cast = cast_of_folder(people)
        html = write_page(tell(engine, cast, tmp_path / "out"), tmp_path).read_text()

        assert "Your photos." in html
        assert "Generated faces." not in html
        assert "&lt;b&gt;Ann &amp; Bob" in html
        assert "<b>Ann" not in html


class TestCastOfAFolder:
    def make(self, folder: Path, single: int, several: int) -> Path:
        for number in range(single + several):
            home = folder / f"p{number:02}"
            home.mkdir(parents=True)
            for photo in range(1 if number < single else 3):
                (home / f"{photo}.jpg").write_bytes(b"")
        return folder

    def test_each_person_has_one_role(self, tmp_path: Path) -> None:
        cast = cast_of_folder(self.make(tmp_path, single=30, several=10))

        enrolled, strangers, others = (names(cast, role) for role in ("enrolled", "strangers", "distractors"))
        assert names(cast, "probes") == enrolled
        assert not enrolled & strangers
        assert not enrolled & others
        assert not strangers & others
        assert not {photo.path for photo in cast.enrolled} & {photo.path for photo in cast.probes}

    def test_people_with_several_photos_stand_in_where_strangers_lack(self, tmp_path: Path) -> None:
        cast = cast_of_folder(self.make(tmp_path, single=0, several=40))

        assert len(names(cast, "enrolled")) >= 5
        assert len(cast.strangers) >= 4
        assert cast.calibration >= 12

    def test_a_folder_with_too_few_people_is_refused_with_what_is_needed(self, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match=r"holds 9 people .* 4 of them .* at least 22 people"):
            cast_of_folder(self.make(tmp_path, single=5, several=4))


class TestFigures:
    def test_pairs_are_split_by_label(self) -> None:
        vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)

        same, different = pair_similarities(vectors, np.array(["a", "a", "b"]))

        np.testing.assert_allclose(same, [0.6])
        np.testing.assert_allclose(different, [0.0, 0.8])

    def test_a_probe_that_ties_with_a_distractor_is_missed(self) -> None:
        probes = np.array([[1, 0], [1, 0]], np.float32)
        mates = np.array([[1, 0], [0.8, 0.6]], np.float32)

        assert rank1_among(probes, mates, np.array([[0.8, -0.6]], np.float32)) == rate(1, 2)


class TestCommand:
    @pytest.mark.slow
    def test_it_prints_the_figures_and_where_the_page_lies(
        self, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("benchmarks.demo.cast.CastSizes", lambda: FEWEST)
        output = tmp_path / "shown"

        result = CliRunner().invoke(demo, ["-o", str(output), "--model", str(network)], catch_exceptions=False)

        lines = result.stdout.splitlines()
        assert result.exit_code == 0
        assert lines[0].startswith("shown: generated faces")
        assert any(line.startswith("served at http://127.0.0.1:") and "its page is there" in line for line in lines)
        assert any(line.startswith(f"to keep it open: faceid serve --gallery {output / 'gallery'}") for line in lines)
        assert lines[-1] == f"page: {output / 'index.html'}"
        assert (output / "index.html").is_file()
        assert "enrolling" in result.stderr

    def test_a_folder_with_anything_else_in_it_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "letter.txt").write_text("mine")

        with pytest.raises(DemoError, match="holds something that the demo did not write"):
            fresh_folder(tmp_path, None)
        assert (tmp_path / "letter.txt").read_text() == "mine"

    def test_a_later_run_replaces_what_an_earlier_one_wrote(self, tmp_path: Path) -> None:
        folder = fresh_folder(tmp_path / "out", None)
        (folder / "old").touch()

        assert not (fresh_folder(folder, None) / "old").exists()

    def test_the_output_does_not_go_among_the_photos(self, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match="lies in the folder of photos"):
            fresh_folder(tmp_path / "people" / "out", tmp_path / "people")

    @pytest.mark.slow
    def test_the_default_model_knows_drawn_people(self, tmp_path: Path) -> None:
        try:
            find_model(None)
        except FaceIdError:
            pytest.skip("the default model is not in the package")

        story = tell(FaceEngine(), generated_cast(tmp_path, FEW), tmp_path)

        assert story.rank1.rate >= 0.8
        assert story.genuine.mean() > story.impostor.mean() + 2 * story.impostor.std()


def names(cast: Cast, role: str) -> set[str]:
    return {photo.name for photo in getattr(cast, role)}
