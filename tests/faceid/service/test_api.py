"""What the routes answer: the engine's own records, and problems with one table of codes."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from faceid import FaceEngine, Gallery, Picture, identification_threshold
from faceid.service.api.examples import EXAMPLES, Message
from faceid.service.problems import CODES
from tests.faceid.service.conftest import Serve, photo

SNAPSHOT = Path(__file__).parent / "openapi.json"
GALLERY = "/v1/galleries/default"


def test_the_document_is_the_one_that_was_promised(app_without_start: FastAPI) -> None:
    document = app_without_start.openapi()
    del document["info"]["version"]
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    assert text == SNAPSHOT.read_text(encoding="utf-8"), (
        "the API changed; if that is meant, write the new document with"
        " `python -m tests.faceid.service.test_api` and tell of it in CHANGELOG.md"
    )


def test_every_body_is_shown_by_an_example_that_fits_its_model(app_without_start: FastAPI) -> None:
    document = app_without_start.openapi()
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for operation in item.values():
            sent = operation.get("requestBody", {}).get("content", {})
            for media in [*sent.values(), *(one for said in operation["responses"].values() for one in _media(said))]:
                assert _is_shown(media, schemas), (path, media)
    known = {model.__name__: model for model in _subclasses(Message)}
    for name, example in EXAMPLES.items():
        written = known[name].model_validate(example).model_dump(mode="json")
        assert json.loads(json.dumps(example)) == written, name


def _media(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for kind, one in said.get("content", {}).items() if kind.endswith("json")]


def _is_shown(media: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Say whether a body has an example: a form has one for each field that is not a file."""
    if media.get("examples"):
        return True
    named = media["schema"].get("$ref") or media["schema"]["allOf"][0]["$ref"]
    schema = schemas[named.rpartition("/")[2]]
    fields = schema["properties"].values()
    return "examples" in schema or all("examples" in one or "contentMediaType" in json.dumps(one) for one in fields)


def _subclasses(model: type[Message]) -> list[type[Message]]:
    return [one for sub in model.__subclasses__() for one in (sub, *_subclasses(sub))]


@pytest.mark.slow
def test_identify_answers_the_records_of_the_engine(
    client: TestClient, drawn_people: Path, shipped_engine: FaceEngine, gallery_path: Path
) -> None:
    parts = [photo(drawn_people, 4, 3), ("photos", ("no photo.txt", b"not a photo"))]
    answer = client.post(f"{GALLERY}/identify", files=parts, data={"fpir": "0.1"})
    assert answer.status_code == 200
    with Gallery.open(gallery_path) as gallery:
        threshold = identification_threshold(
            shipped_engine.model, gallery, 0.1, detector=shipped_engine.detector_digest
        )
        pictures = [Picture(data, name) for _, (name, data) in parts]
        expected = [one.record() for one in shipped_engine.identify(gallery, pictures, threshold)]
    assert answer.json()["answers"] == expected
    assert answer.json()["answers"][0]["identity"]["name"] == "person-0004"
    assert [one["decision"] for one in answer.json()["answers"]] == ["identified", "error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_threshold_of_ones_own_is_told_as_such(client: TestClient, drawn_people: Path) -> None:
    answer = client.post(
        f"{GALLERY}/identify", files=[photo(drawn_people, 4, 3)], data={"threshold": "0.99", "top_k": "2"}
    )
    (record,) = answer.json()["answers"]
    assert (record["decision"], record["threshold_source"]["kind"], len(record["candidates"])) == ("unknown", "user", 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"fpir": "0"},
        {"fpir": "1"},
        {"threshold": "nan"},
        {"threshold": "2"},
        {"top_k": "0"},
        {"faces": "some"},
        {"fpir": "0.1", "threshold": "0.5"},
    ],
)
def test_fields_out_of_their_range_are_refused(client: TestClient, drawn_people: Path, fields: dict[str, str]) -> None:
    answer = client.post(f"{GALLERY}/identify", files=[photo(drawn_people, 1, 1)], data=fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_verify_says_whether_two_photos_show_one_person(client: TestClient, drawn_people: Path) -> None:
    def pair(one: int, other: int) -> dict[str, tuple[str, bytes]]:
        return {"first": photo(drawn_people, one, 1)[1], "second": photo(drawn_people, other, 2)[1]}

    same = client.post("/v1/verify", files=pair(1, 1), data={"threshold": "0.4"}).json()["answer"]
    other = client.post("/v1/verify", files=pair(1, 2), data={"threshold": "0.4"}).json()["answer"]
    assert (same["same"], other["same"]) == (True, False)
    nobody = {"first": ("a", b"x"), "second": photo(drawn_people, 1, 1)[1]}
    assert client.post("/v1/verify", files=nobody, data={"threshold": "0.4"}).json()["answer"]["same"] is None


def test_a_gallery_that_is_an_empty_text_is_not_the_first_of_several(
    serve: Serve, drawn_people: Path, gallery_path: Path, tmp_path: Path
) -> None:
    client = serve(galleries={"default": gallery_path, "other": tmp_path / "other"})
    files = {name: photo(drawn_people, 1, 1)[1] for name in ("first", "second")}
    for query in ("", "?gallery="):
        assert client.post(f"/v1/verify{query}", files=files, data={"threshold": "0.3"}).status_code == 422
    assert client.post("/v1/verify?gallery=default", files=files, data={"threshold": "0.3"}).json()["answer"]["same"]


def test_a_backup_that_is_put_in_a_gallerys_place_is_what_is_answered_from(
    client: TestClient, gallery_path: Path, drawn_people: Path, tmp_path: Path
) -> None:
    shutil.copytree(gallery_path, tmp_path / "backup")
    place = "/v1/galleries/default"
    files = [photo(drawn_people, 1, 3)]

    def who() -> str:
        (answer,) = client.post(f"{place}/identify", files=files, data={"threshold": "0.3"}).json()["answers"]
        return str(answer["identity"]["name"])

    client.patch(f"{place}/people/1", json={"name": "Ada"})
    assert who() == "Ada"
    gallery_path.rename(tmp_path / "damaged")
    assert client.post(f"{place}/identify", files=files, data={"threshold": "0.3"}).json()["code"] == "conflict"
    (tmp_path / "backup").rename(gallery_path)
    assert who() == "person-0001"
    assert client.get(f"{place}/people/1").json()["person"]["name"] == "person-0001"


def test_vectors_are_given_away_only_where_the_settings_say_so(serve: Serve, drawn_people: Path) -> None:
    files = [photo(drawn_people, 1, 1), ("photos", ("x", b"x"))]
    assert serve().post("/v1/embed", files=files).json()["code"] == "embeddings_off"
    told = serve(embeddings=True).post("/v1/embed", files=files).json()
    assert len(told["faces"][0]["vector"]) == 256
    assert told["without"] == [{"source": "x", "decision": "error", "reason_code": "not_an_image"}]


def test_a_person_is_enrolled_found_renamed_merged_taken_back_and_erased(
    client: TestClient, drawn_people: Path
) -> None:
    photos = [photo(drawn_people, 1, 3)]
    made = client.post(f"{GALLERY}/people", data={"name": "Ada", "external_id": "a-1"}, files=photos)
    assert made.json()["photos"][0]["status"] == "enrolled"
    ada = made.json()["person"]["id"]
    found = client.get(f"{GALLERY}/people", params={"search": "A-1"}).json()["people"]
    assert [one["id"] for one in found] == [ada]
    assert client.patch(f"{GALLERY}/people/{ada}", json={"name": "Ada King"}).json()["person"]["name"] == "Ada King"
    assert client.post(f"{GALLERY}/people/{ada}/merge", json={"into": 1}).json()["person"]["templates"] == 3
    assert client.post(f"{GALLERY}/undo").json()["entry"]["action"] == "merge"
    assert client.post(f"{GALLERY}/people/{ada}/remove").json()["person"]["removed"]
    assert not client.post(f"{GALLERY}/people/{ada}/restore").json()["person"]["removed"]
    wrong = client.post(f"{GALLERY}/people/{ada}/erase", json={"confirm": "Ada"})
    assert wrong.json()["code"] == "invalid_request"
    assert client.post(f"{GALLERY}/people/{ada}/erase", json={"confirm": "Ada  King "}).json()["state"] == "done"
    assert client.get(f"{GALLERY}/people/{ada}").json()["code"] == "no_such_person"


@pytest.mark.parametrize("number", [True, "1", 1.0])
def test_what_is_no_number_means_nobody(client: TestClient, number: object) -> None:
    """A `true` would have merged two people."""
    for path, wish in {
        "people/2/merge": {"into": number},
        "people/2/photos/remove": {"template_ids": [number]},
        "undo": {"entry": number},
    }.items():
        told = client.post(f"{GALLERY}/{path}", json=wish)
        assert (told.status_code, told.json()["code"]) == (422, "invalid_request")


def test_who_is_called_by_a_number_is_not_the_person_of_that_id(client: TestClient, drawn_people: Path) -> None:
    for person, (name, external_id) in enumerate((("2", ""), ("Zoë", "3"), ("3", "")), start=1):
        fields = {"name": name, "external_id": external_id}
        told = client.post(f"{GALLERY}/people", data=fields, files=[photo(drawn_people, person, 3)]).json()
        made = told["person"]
        assert (made["name"], made["external_id"]) == (name, external_id or None)
        shown = client.get(f"{GALLERY}/people/{made['id']}").json()["templates"]
        assert [one["id"] for one in shown] == [told["photos"][0]["template_id"]]


@pytest.mark.parametrize("typed", ["ZOE\u0308", "zoë ", "Zoë\u00a0 Lee"])
def test_a_search_finds_a_name_that_is_spelt_in_other_letters_of_the_same_look(client: TestClient, typed: str) -> None:
    client.patch(f"{GALLERY}/people/1", json={"name": "Zoë Lee"})
    found = client.get(f"{GALLERY}/people", params={"search": typed}).json()["people"]
    assert [one["id"] for one in found] == [1]


def test_photos_without_a_face_enrol_nobody_and_say_why(client: TestClient) -> None:
    answer = client.post(f"{GALLERY}/people", data={"name": "Nobody"}, files=[("photos", ("x.jpg", b"x"))])
    assert (answer.status_code, answer.json()["code"]) == (422, "no_face")
    assert answer.json()["photos"][0]["reason_codes"] == ["not_an_image"]
    assert client.get(f"{GALLERY}/people", params={"search": "Nobody"}).json()["people"] == []


def test_the_list_of_people_pages_to_its_end(client: TestClient) -> None:
    seen: list[int] = []
    cursor = None
    while True:
        page = client.get(f"{GALLERY}/people", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["id"] for one in page["people"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [1, 2, 3, 4, 5, 6]
    for wrong in ("x", "!!", "WzEsMl0", "e30"):
        assert client.get(f"{GALLERY}/people", params={"cursor": wrong}).json()["code"] == "invalid_cursor"


def test_single_photos_are_hidden_only_from_their_own_person(client: TestClient) -> None:
    own = client.get(f"{GALLERY}/people/1").json()["templates"][0]["id"]
    other = client.get(f"{GALLERY}/people/2").json()["templates"][0]["id"]
    refused = client.post(f"{GALLERY}/people/1/photos/remove", json={"template_ids": [own, other]})
    assert refused.json()["code"] == "conflict"
    hidden = client.post(f"{GALLERY}/people/1/photos/remove", json={"template_ids": [own]})
    assert hidden.json()["person"]["templates"] == 1


def test_a_wish_that_is_not_known_is_refused(client: TestClient) -> None:
    answer = client.patch(f"{GALLERY}/people/1", json={"name": "Ada", "external_id": "7"})
    assert answer.json()["code"] == "invalid_request"


@pytest.mark.slow
def test_thresholds_come_with_their_evidence(client: TestClient) -> None:
    table = client.get(f"{GALLERY}/thresholds", params={"fpir": [0.1, 1e-9]}).json()
    measured, refused = table["rows"][:2]
    assert (measured["basis"], measured["trials"] > 1000) == ("measured", True)
    assert refused["threshold"] is None
    assert refused["reason"]
    assert "FPIR 1 %" in table["words"]


def test_every_problem_has_one_shape(client: TestClient) -> None:
    for answer in (
        client.get("/nothing"),
        client.delete("/v1/health"),
        client.get("/v1/galleries/nowhere"),
        client.get(f"{GALLERY}/people/abc"),
        client.patch(f"{GALLERY}/people/1", content=b"{", headers={"content-type": "application/json"}),
    ):
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert CODES[problem["code"]] == (problem["status"], problem["title"])
        assert problem["status"] == answer.status_code
        assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_request_keeps_the_number_that_the_client_gave_it(client: TestClient) -> None:
    assert client.get("/v1/health", headers={"X-Request-ID": "door-7"}).json()["request_id"] == "door-7"
    for odd in ("a b", "x" * 65, "é"):
        assert client.get("/v1/health", headers={"X-Request-ID": odd.encode()}).json()["request_id"] != odd


def test_metrics_count_decisions_and_name_nobody(client: TestClient, drawn_people: Path) -> None:
    client.post(f"{GALLERY}/identify", files=[photo(drawn_people, 4, 3)], data={"threshold": "0.3"})
    text = client.get("/metrics").text
    assert 'faceid_decisions_total{decision="identified",gallery="default"} 1.0' in text
    assert "person-" not in text


def test_metrics_keep_no_method_that_somebody_made_up(client: TestClient) -> None:
    assert client.request("MADEUP", "/").status_code == 405
    text = client.get("/metrics").text
    assert "MADEUP" not in text
    assert 'method="other"' in text


def test_true_is_no_number_among_the_settings(tmp_path: Path) -> None:
    from faceid.service.settings import SettingsError, make_settings

    settings = {"galleries": {"default": tmp_path}, "data": tmp_path}
    assert make_settings(settings | {"keep_crops": True}).keep_crops
    for name in ("audit_days", "workers", "seconds"):
        with pytest.raises(SettingsError, match=name):
            make_settings(settings | {name: True})


if __name__ == "__main__":
    from faceid.service.app import create_app
    from faceid.service.settings import make_settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(make_settings({"galleries": {"default": folder}, "data": folder}))
        document = app.openapi()
    del document["info"]["version"]
    SNAPSHOT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
