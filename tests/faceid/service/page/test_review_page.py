"""What is probably wrong in a gallery, mended by whoever may curate it: over HTTP and on the page, noted in the log."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from faceid import FaceEngine, Gallery
from faceid.service import audit
from indexer.records import NewTemplate
from tests.faceid.service.page.conftest import HOME, LogIn, token_of

REVIEW = "/v1/galleries/default/review"


@pytest.fixture
def gallery_path(shipped_engine: FaceEngine, tmp_path: Path) -> Path:
    """Eighty people with three vectors each around a direction of their own, and number 81 around that of number 2."""
    rng = np.random.default_rng(7)
    own = rng.standard_normal((80, shipped_engine.binding.dimension))
    with Gallery.open(tmp_path / "gallery", create=shipped_engine.binding) as gallery:
        for number, direction in enumerate([*own, own[1]], start=1):
            name = "Zwilling" if number == 81 else f"person {number}"
            vectors = direction + 0.5 * rng.standard_normal((3, len(direction)))
            gallery.add([_template(name, 10 * number + place, vector) for place, vector in enumerate(vectors)])
    return tmp_path / "gallery"


def _template(name: str, number: int, vector: Any) -> NewTemplate:
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return NewTemplate(name, None, unit, f"{number}.jpg", number.to_bytes(32, "big"), None, None, None, "float32")


def findings(client: TestClient, **asked: Any) -> dict[str, dict[str, Any]]:
    """What the review says, by the keys of the findings."""
    answer = client.get(REVIEW, params=asked)
    assert answer.status_code == 200, answer.text
    return {one["finding"]: one for one in answer.json()["findings"]}


def actions(client: TestClient) -> list[tuple[str, str, list[Any]]]:
    """What the audit log says of answers to findings."""
    service = client.app.state.service  # type: ignore[attr-defined]
    every = audit.entries(service.database)
    return [(one["action"], one["outcome"], one["about"]) for one in every if one["action"].startswith("review")]


@pytest.mark.slow
def test_two_names_of_one_person_are_merged_by_a_button_and_taken_back(log_in: LogIn) -> None:
    client = log_in("curate")
    page = client.get(f"{HOME}/review").text
    assert "One person under two names" in page
    assert 'value="duplicate:2-81"' in page
    done = client.post(
        f"{HOME}/review", data={"token": token_of(client), "finding": "duplicate:2-81", "answer": "accept"}
    )
    assert "Mended." in done.text
    assert 'value="duplicate:2-81"' not in done.text
    assert "/people/81" not in client.get(f"{HOME}/people?search=Zwilling").text
    assert actions(client) == [("review_accept", "asked", [2, 81]), ("review_accept", "done", [2, 81])]
    changes = client.get(f"{HOME}/changes").text
    newest = re.findall(r'name="entry" value="(\d+)"', changes)[0]
    client.post(f"{HOME}/undo", data={"token": token_of(client), "entry": newest})
    assert "/people/81" in client.get(f"{HOME}/people?search=Zwilling").text
    assert 'value="duplicate:2-81"' in client.get(f"{HOME}/review").text  # it stands again


@pytest.mark.slow
def test_who_is_called_two_people_is_not_asked_again_not_even_by_a_new_look(client: TestClient) -> None:
    assert "duplicate:2-81" in findings(client)
    said = client.post(REVIEW, json={"finding": "duplicate:2-81", "answer": "reject"})
    assert (said.status_code, said.json()["answer"]) == (200, "reject")
    assert "duplicate:2-81" not in findings(client)
    assert "duplicate:2-81" not in findings(client, again=True)
    again = client.post(REVIEW, json={"finding": "duplicate:2-81", "answer": "accept"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.slow
def test_the_findings_of_somebody_who_is_gone_are_gone_and_their_names_with_them(client: TestClient) -> None:
    assert "duplicate:2-81" in findings(client)
    client.post("/v1/galleries/default/people/81/erase", json={"confirm": "Zwilling"})
    assert not [key for key, one in findings(client).items() if "Zwilling" in str(one)]
    assert client.get(f"{HOME}/review").status_code == 200
