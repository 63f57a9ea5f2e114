"""The engine as Python: what it takes, what it answers, what it refuses before it begins."""

import inspect
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import faceid
from benchmarks.demo.people import write_people
from faceid import (
    Enrollment,
    FaceEngine,
    Gallery,
    ModelMismatch,
    PersonPhoto,
    Picture,
    photos_of_people,
    user_threshold,
)
from indexer import errors
from indexer.decision.decision import Threshold
from indexer.records import ModelBinding
from tests.indexer.made_up_people import unit_vectors

HALF = user_threshold(0.5)


@pytest.fixture(scope="module")
def enrolled(shipped_engine: FaceEngine, drawn_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of everybody's first and second photo."""
    folder = tmp_path_factory.mktemp("engine") / "gallery"
    with Gallery.open(folder, create=shipped_engine.binding) as gallery:
        people = [photo for photo in photos_of_people(drawn_people) if photo.path.stem != "3"]
        assert {one.status for one in shipped_engine.enroll(gallery, people)} == {"enrolled"}
    return folder


@pytest.fixture
def gallery(enrolled: Path, tmp_path: Path) -> Gallery:
    """A copy for this test alone, open for writing."""
    with Gallery.open(shutil.copytree(enrolled, tmp_path / "g"), writable=True) as opened:
        yield opened


@pytest.fixture
def third_photo(drawn_people: Path) -> Path:
    return drawn_people / "person-0004" / "3.jpg"


def test_a_photo_in_any_form_gets_the_same_answer(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    with Image.open(third_photo) as image:
        forms = [third_photo, third_photo.read_bytes(), np.asarray(image), image.copy()]
    answers = [shipped_engine.identify(gallery, form, HALF) for form in (str(third_photo), *forms, forms)]
    assert [len(one) for one in answers] == [1, 1, 1, 1, 1, 4]
    told = {(a.identity and a.identity.name, round(a.similarity or 0, 4)) for one in answers for a in one}
    assert len(told) == 1
    assert next(iter(told))[0] == "person-0004"
    assert [answer.source for answer in answers[-1]] == [str(third_photo), "picture 2", "picture 3", "picture 4"]


def test_an_answer_says_where_the_face_is_and_on_request_its_vector(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    (plain,) = shipped_engine.identify(gallery, Picture(third_photo, "camera 1", time=2.0), HALF)
    (answer,) = shipped_engine.identify(gallery, third_photo, HALF, vectors=True)
    (found,) = shipped_engine.analyse(third_photo)[0].faces
    assert (plain.source, plain.picture.time, plain.vector) == ("camera 1", 2.0, None)
    assert answer.vector is not None
    assert np.allclose(answer.vector, found.vector, atol=1e-5)
    assert answer.box == found.box
    assert answer.landmarks == found.landmarks
    assert answer.quality == found.quality.overall
    x, y, w, h = found.box
    assert all(x <= point[0] <= x + w and y <= point[1] <= y + h for point in found.landmarks)


def test_the_revision_is_the_galleries(shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path) -> None:
    (answer,) = shipped_engine.identify(gallery, third_photo, HALF)
    assert answer.gallery_revision == gallery.revision


def test_enrolling_is_done_when_the_call_returns(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    (one,) = shipped_engine.enroll(gallery, PersonPhoto(third_photo.read_bytes(), "Ann"))
    assert (one.status, one.source) == ("enrolled", "picture")
    assert [person.name for person in gallery.find("Ann")] == ["Ann"]
    (again,) = shipped_engine.enroll(gallery, [PersonPhoto(third_photo, "Ann")])
    assert again.status == "already_enrolled", "a file and its bytes are one photo"


def test_a_rejected_photo_is_not_looked_at_again_unless_asked_or_what_decided_it_changed(
    shipped_engine: FaceEngine, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    Image.new("RGB", (80, 80)).save(empty)
    text.write_text("no photo")
    people = [PersonPhoto(empty, "Ann"), PersonPhoto(text, "Ann")]
    looks = []
    look = shipped_engine.pipeline.find_faces
    monkeypatch.setattr(
        shipped_engine.pipeline,
        "find_faces",
        lambda read, *how, **more: (looks.append(len(read)), look(read, *how, **more))[1],
    )

    def enroll(**wishes: object) -> list[tuple[str, ...]]:
        return [one.reason_codes for one in shipped_engine.enroll(gallery, people, **wishes)]

    assert enroll() == [("no_face",), ("not_an_image",)]
    assert enroll() == [("no_face", "remembered"), ("not_an_image",)], "what failed may succeed next time"
    assert enroll(again=True) == enroll(faces="largest") == enroll(limits=None) == [("no_face",), ("not_an_image",)]
    assert looks == [2, 1, 2, 2, 2]


def test_a_photo_stays_its_persons_whatever_the_person_is_called_by_now(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    people = [PersonPhoto(third_photo, "Mae", "A  7 ")]
    (first,) = shipped_engine.enroll(gallery, people)
    (again,) = shipped_engine.enroll(gallery, people)
    assert (first.status, again.status) == ("enrolled", "already_enrolled"), "an external id is normalised, too"
    assert first.record()["external_id"] == "A 7", "and told as the gallery keeps it"
    gallery.erase(gallery.find("A 7")[0].id)

    people = [PersonPhoto(third_photo, "Mae")]
    shipped_engine.enroll(gallery, people)
    (mae,) = gallery.find("Mae")
    gallery.rename(mae.id, "May")
    assert [one.record()["name"] for one in shipped_engine.enroll(gallery, people)] == ["May"]
    gallery.merge(mae.id, 1)
    (merged,) = shipped_engine.enroll(gallery, people)
    assert (merged.status, merged.reason_codes) == ("already_enrolled", ("known_by_another_name",))
    (other,) = shipped_engine.enroll(gallery, [PersonPhoto(third_photo, "Somebody")])
    assert (other.status, other.reason_codes) == ("rejected", ("enrolled_as_someone_else",))


def test_a_photo_that_was_taken_from_one_person_may_be_enrolled_as_anothers(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    def enroll(name: str) -> Enrollment:
        return shipped_engine.enroll(gallery, [PersonPhoto(third_photo, name)])[0]

    wrong = enroll("Bob").template_id
    assert wrong is not None
    gallery.remove_templates([wrong])
    right = enroll("Ann")
    assert (right.status, right.reason_codes) == ("enrolled", ())
    other = enroll("Cleo")
    assert (other.reason_codes, other.template_id) == (("enrolled_as_someone_else",), right.template_id)
    gallery.remove(gallery.find("Ann")[0].id)
    assert enroll("Cleo").status == "enrolled"
    assert enroll("Bob").reason_codes == ("removed",)


@pytest.mark.slow
def test_streams_work_as_they_are_read(shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path) -> None:
    endless = (third_photo for _ in count())
    assert len(list(islice(shipped_engine.identify_stream(gallery, endless, HALF), 40))) == 40
    stream = shipped_engine.enroll_stream(gallery, [PersonPhoto(third_photo, "Ann")])
    assert gallery.find("Ann") == []
    assert [one.status for one in stream] == ["enrolled"]


def test_one_bad_photo_among_many_is_one_answer(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path, tmp_path: Path
) -> None:
    photos = [b"text", third_photo, tmp_path / "missing.jpg", np.zeros((50, 50, 3), np.uint8)]
    answers = shipped_engine.identify(gallery, photos, HALF)
    assert [answer.decision for answer in answers] == ["error", "identified", "error", "no_face"]


def test_verify_and_identify_score_alike(shipped_engine: FaceEngine, gallery: Gallery, drawn_people: Path) -> None:
    first, third = (drawn_people / "person-0001" / f"{n}.jpg" for n in (1, 3))
    verified = shipped_engine.verify(first, third.read_bytes(), HALF)
    vectors = shipped_engine.embed([first, third]).vectors
    expected = np.float32((vectors[0].astype(np.float64) * vectors[1].astype(np.float64)).sum())
    assert verified.similarity == pytest.approx(float(expected), abs=1e-6)
    assert verified.same == (verified.similarity >= 0.5)


def test_labels_come_with_person_photos_only(shipped_engine: FaceEngine, third_photo: Path) -> None:
    features = shipped_engine.embed([PersonPhoto(third_photo, "Ann"), third_photo, third_photo.read_bytes()])
    assert features.labels == ("Ann", "", "")
    assert features.paths == (str(third_photo), str(third_photo), "picture 3")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"faces": "some"}, ValueError, "faces must be one of exactly-one, largest, centre, all"),
        ({"threshold": 0.5}, TypeError, "threshold must be a Threshold"),
        ({"threshold": user_threshold(0.5).__class__(float("nan"), *[None] * 8)}, ValueError, "finite"),
        ({"top_k": 0}, ValueError, "top_k must be 1 or more"),
        ({"top_k": "5"}, TypeError, "integer"),
        ({"limits": 0.5}, TypeError, "limits must be Limits"),
        ({"photos": 7}, TypeError, "photos must be a picture or several"),
        ({"photos": [7]}, TypeError, "a photo is a path"),
        ({"gallery": "staff"}, TypeError, "gallery must be a Gallery"),
    ],
)
def test_a_stream_refuses_wrong_arguments_when_it_is_called(
    shipped_engine: FaceEngine,
    gallery: Gallery,
    third_photo: Path,
    arguments: dict[str, object],
    error: type[Exception],
    says: str,
) -> None:
    right = {"gallery": gallery, "photos": third_photo, "threshold": HALF}
    with pytest.raises(error, match=says):
        shipped_engine.identify_stream(**(right | arguments))


def test_photos_of_one_unknown_are_not_asked_for_a_list_of_nobody(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    with pytest.raises(ValueError, match="top_k must be 1 or more"):
        shipped_engine.identify_together(gallery, third_photo, lambda photos: HALF, top_k=-1)


def test_a_copy_among_photos_of_one_unknown_counts_once(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    """Copies say nothing new: the threshold for three photos is not that of one photo given three times."""
    asked: list[int] = []

    def threshold_for(photos: int) -> Threshold:
        asked.append(photos)
        return HALF

    other = third_photo.with_name("2.jpg")
    alone = shipped_engine.identify_together(gallery, [third_photo, other], threshold_for)
    copies = shipped_engine.identify_together(gallery, [third_photo, other, third_photo.read_bytes()], threshold_for)
    assert asked == [2, 2]
    assert (copies.photos, copies.similarity) == (2, alone.similarity)
    assert "copy" in copies.reason_codes


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"faces": "all"}, ValueError), ({"people": ["a.jpg"]}, TypeError), ({"people": 3}, TypeError)],
)
def test_enrolling_refuses_wrong_arguments_when_it_is_called(
    shipped_engine: FaceEngine, gallery: Gallery, arguments: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        shipped_engine.enroll_stream(**({"gallery": gallery, "people": []} | arguments))


def test_a_gallery_of_another_model_is_refused_when_it_is_asked(shipped_engine: FaceEngine, tmp_path: Path) -> None:
    other = ModelBinding("other", "0" * 64, 512)
    with Gallery.open(tmp_path / "g", create=other) as gallery, pytest.raises(ModelMismatch, match="0000"):
        shipped_engine.identify_stream(gallery, [], HALF)
    with pytest.raises(ModelMismatch, match="0000"):
        Gallery.open(tmp_path / "g", create=shipped_engine.binding)


def test_a_gallery_that_is_brought_over_to_another_model_meanwhile_is_asked_no_more(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path
) -> None:
    """Vectors of two models have as many numbers and nothing to do with each other: everybody would be unknown."""

    own, other = shipped_engine.binding, ModelBinding("other", "0" * 64, shipped_engine.binding.dimension)

    def move(to: ModelBinding) -> None:
        templates = [one.id for one in gallery.templates()]
        gallery.add_embeddings(to, templates, unit_vectors(len(templates), to.dimension))
        gallery.switch_model(to)

    def while_it_moves() -> Iterator[Path]:
        yield third_photo
        move(other)

    with Gallery.open(gallery.path) as reader:
        with pytest.raises(ModelMismatch, match="bound to the model 'other'"):
            shipped_engine.identify(reader, while_it_moves(), HALF)
        move(own)
        with pytest.raises(ModelMismatch, match="bound to the model 'other'"):
            shipped_engine.identify_together(reader, while_it_moves(), lambda _: HALF)


def test_a_gallery_is_made_the_first_time_and_opened_the_second(shipped_engine: FaceEngine, tmp_path: Path) -> None:
    for expected in (1, 1):
        with Gallery.open(tmp_path / "g", create=shipped_engine.binding) as gallery:
            assert gallery.revision == expected


@pytest.mark.slow
def test_forty_threads_get_the_answers_of_one(shipped_engine: FaceEngine, gallery: Gallery, drawn_people: Path) -> None:
    photos = sorted(drawn_people.glob("*/3.jpg"))

    def told(photo: Path) -> list[tuple[str | None, float]]:
        answers = shipped_engine.identify(gallery, photo, HALF)
        return [(a.identity and a.identity.name, round(a.similarity or 0, 4)) for a in answers]

    expected = [told(photo) for photo in photos]
    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(told, photos * 20)) == expected * 20


def test_everything_public_is_exported_once_and_loads() -> None:
    assert sorted(set(faceid.__all__)) == sorted(faceid.__all__)
    for name in faceid.__all__:
        assert getattr(faceid, name).__name__ == name
    public = [
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert set(public) <= set(faceid.__all__), "every error that a user meets"
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = faceid.nonesuch


def test_namesakes_are_told_apart_in_every_answer(
    shipped_engine: FaceEngine, gallery: Gallery, drawn_people: Path, third_photo: Path
) -> None:
    folder = drawn_people.parent / "more"
    write_people(folder, 2, 2, seed=77, prefix="more")
    first = PersonPhoto(folder / "more-0001" / "1.jpg", "Ann")
    second = PersonPhoto(folder / "more-0002" / "1.jpg", "Ann", "E7")
    assert {one.status for one in shipped_engine.enroll(gallery, [first, second])} == {"enrolled"}
    probes = [folder / f"more-000{n}" / "2.jpg" for n in (1, 2)]
    one, other = shipped_engine.identify(gallery, probes, user_threshold(-1))
    identity = gallery.find("Ann")[0].id
    assert (one.identity.label, other.identity.label) == (f"Ann (#{identity})", "Ann (E7)")
    assert other.record()["identity"]["external_id"] == "E7"
    (alone,) = shipped_engine.identify(gallery, third_photo, HALF)
    assert alone.identity.label == "person-0004"


def test_a_name_is_kept_without_what_cannot_be_seen_and_that_is_said(
    shipped_engine: FaceEngine, gallery: Gallery, third_photo: Path, drawn_people: Path
) -> None:
    (one,) = shipped_engine.enroll(gallery, PersonPhoto(third_photo, "  Ann\u200b  Lee\u202e"))
    assert (one.status, one.name, one.reason_codes) == ("enrolled", "Ann Lee", ("name_normalised",))
    (again,) = shipped_engine.enroll(gallery, PersonPhoto(third_photo, "Ann Lee"))
    assert (again.status, again.reason_codes) == ("already_enrolled", ())
