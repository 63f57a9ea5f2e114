"""What people see: photos with answers, people and what is done to them, outcomes with reasons, in two languages."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from benchmarks.demo.people import write_people
from tests.faceid.service.conftest import Serve, photo
from tests.faceid.service.page.conftest import HOME, LogIn, token_of

EVERY_PAGE = (
    "",
    "/people",
    "/people/1",
    "/enroll",
    "/calibration",
    "/calibration/trial",
    "/jobs",
    "/review",
    "/changes",
    "/health",
)


def send(client: TestClient, place: str, **fields: object) -> str:
    answer = client.post(HOME + place, data={"token": token_of(client), **fields})
    assert answer.status_code == 200, answer.text
    return answer.text


def verdicts(page: str) -> list[str]:
    """What is said in large letters, without its marks."""
    return [re.sub(r"<[^>]+>", "", said) for said in re.findall(r'class="verdict">(.*?)</p>', page, re.DOTALL)]


def test_a_known_face_gets_its_name_and_a_strangers_is_nobody(log_in: LogIn, drawn_people: Path, tmp_path) -> None:
    client = log_in()
    write_people(tmp_path / "others", 8, 1, seed=99)
    files = [photo(drawn_people, 2, 3), photo(tmp_path / "others", 8, 1), ("photos", ("a.txt", b"no photo"))]
    page = client.post(HOME, data={"token": token_of(client), "fpir": "0.01"}, files=files).text
    assert verdicts(page) == ["person-0002", "Nobody in this gallery", "This photo cannot be used"]
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count("<rect ") == 2
    for word in ("Similarity", "Accepted from", "Probability", "this is not a photo"):
        assert word in page


@pytest.mark.slow
def test_every_page_speaks_both_languages_and_loads_from_nowhere_else(log_in: LogIn) -> None:
    client = log_in()
    for place in EVERY_PAGE:
        english, german = client.get(HOME + place), client.get(HOME + place, headers={"Accept-Language": "de-AT,en"})
        assert (english.status_code, german.status_code) == (200, 200), place
        assert '<html lang="en">' in english.text
        assert '<html lang="de">' in german.text
        assert "Abmelden" in german.text
        loaded = re.findall(r'(?:src|href|action|hx-\w+)="([^"]*)"', english.text)
        assert all(
            address.startswith(("/", "#", "?", "data:")) for address in loaded if "://" in address or not address
        )
        assert not [address for address in loaded if "://" in address], place
        assert not re.search(r"<style|style=|<script>|onclick", english.text), place


def test_a_language_that_was_chosen_stays(log_in: LogIn) -> None:
    client = log_in()
    assert "Abmelden" in client.get(f"{HOME}/people?language=de").text
    assert "Abmelden" in client.get(HOME).text


def test_people_are_found_renamed_merged_removed_brought_back_and_taken_back(log_in: LogIn) -> None:
    client = log_in()
    found = client.get(f"{HOME}/people", params={"search": "0003"}).text
    assert "person-0003" in found
    assert "person-0002" not in found
    assert "Ada Lovelace" in send(client, "/people/3/rename", name="Ada Lovelace")
    assert "Merged" in send(client, "/people/3/merge", other="person-0002 (#2)")
    assert "Ada Lovelace" not in client.get(f"{HOME}/people").text
    changes = client.get(f"{HOME}/changes").text
    newest = re.search(r'name="entry" value="(\d+)"', changes)
    assert newest is not None
    assert "Taken back" in send(client, "/undo", entry=newest[1])
    assert "Ada Lovelace" in client.get(f"{HOME}/people").text
    assert "Removed" in send(client, "/people/3/remove")
    assert "is removed" in client.get(f"{HOME}/people/3").text
    assert "Brought back" in send(client, "/people/3/restore")
    assert "hidden" in send(client, "/people/3/photos/remove", template="5")


def test_a_label_with_an_external_id_is_not_taken_for_a_number(log_in: LogIn, drawn_people: Path) -> None:
    client = log_in()
    for person, external_id in ((3, "1"), (4, "2")):
        fields = {"token": token_of(client), "name": "Ann", "external_id": external_id}
        assert client.post(f"{HOME}/enroll", data=fields, files=[photo(drawn_people, person, 3)]).status_code == 200
    token = token_of(client)
    # As answers label namesakes: this is nobody's id.
    merged = client.post(f"{HOME}/people/3/merge", data={"token": token, "other": "Ann (2)"})
    assert merged.url.path == f"{HOME}/people/8"
    assert client.post(f"{HOME}/people/4/merge", data={"token": token, "other": "Bob (2)"}).status_code == 404


def test_erasing_takes_the_typed_name_and_leaves_nobody(log_in: LogIn) -> None:
    client = log_in()
    refused = client.post(f"{HOME}/people/4/erase", data={"token": token_of(client), "confirm": "person-0003"})
    assert refused.status_code == 422
    assert "Erased for good" in send(client, "/people/4/erase", confirm="person-0004")
    assert client.get(f"{HOME}/people/4").status_code == 404


def test_an_erase_that_is_pending_is_not_called_done(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    client = log_in()
    monkeypatch.setattr("indexer.gallery.Gallery._finish_erase", lambda _: False)
    told = send(client, "/people/4/erase", confirm="person-0004")
    assert "Erased for good" not in told
    assert "the last bytes go with a later change" in told.lower()


@pytest.mark.slow
def test_each_enrolled_photo_says_what_became_of_it_and_why(log_in: LogIn, drawn_people: Path) -> None:
    client = log_in()
    files = [photo(drawn_people, 5, 3), ("photos", ("a.txt", b"no photo"))]
    fields = {"token": token_of(client), "name": "Ada Lovelace"}
    page = client.post(f"{HOME}/enroll", data=fields, files=files).text
    assert re.findall(r'class="status (\w+)"', page) == ["enrolled", "failed"]
    assert "this is not a photo" in page
    assert "Show Ada Lovelace" in page
    nothing = client.post(f"{HOME}/enroll", data=fields, files=files[1:])
    assert nothing.status_code == 422
    assert "this is not a photo" in nothing.text


def test_a_folder_from_the_browser_becomes_a_job_with_a_person_for_each_folder(log_in: LogIn, drawn_people) -> None:
    client = log_in()
    files = [
        ("photos", (f"staff/{name}/3.jpg", photo(drawn_people, number, 3)[1][1]))
        for number, name in ((1, "Ada Lovelace"), (2, "../../Grace Hopper"))
    ]
    page = client.post(f"{HOME}/enroll/folder", data={"token": token_of(client)}, files=files)
    assert page.status_code == 200
    client.app.state.service.jobs.close()  # type: ignore[attr-defined] - it finishes what it has begun or puts it back
    people = client.get(f"{HOME}/people").text
    assert page.url.path.startswith(f"{HOME}/jobs/")
    assert "staff/Ada Lovelace/3.jpg" in client.get(str(page.url)).text or "0 of 2" in client.get(str(page.url)).text
    assert "../" not in people


@pytest.mark.slow
def test_names_are_shown_as_text_everywhere(log_in: LogIn, drawn_people: Path) -> None:
    client = log_in()
    names = ["<script>alert(1)</script>", "=HYPERLINK(1)", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "$(x)"]
    for number, name in enumerate(names, start=1):
        send(client, f"/people/{number}/rename", name=name)
    fields = {"token": token_of(client), "name": names[0]}
    pages = [client.get(HOME + place).text for place in EVERY_PAGE]
    pages += [client.get(f"{HOME}/people/{number}").text for number in range(1, 6)]
    pages += [
        client.get(f"{HOME}/people/names?other=s").text,
        client.get(f"{HOME}/people", params={"search": names[2]}).text,
    ]
    pages += [client.post(HOME, data={"token": fields["token"]}, files=[photo(drawn_people, 1, 3)]).text]
    evil = ("photos", ("<b>\u202egnp.exe", photo(drawn_people, 6, 3)[1][1]))
    pages += [client.post(f"{HOME}/enroll", data=fields, files=[evil]).text]
    pages += [client.post(f"{HOME}/people/1/erase", data=fields | {"confirm": "<script>"}).text]
    whole = "\n".join(pages)
    assert "<script>alert" not in whole
    assert "<img src=x" not in whole
    assert "<b>" not in whole
    assert "\u202e" not in whole
    assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", whole)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in whole
    assert r"&lt;b&gt;\u202egnp.exe" in whole


def test_what_goes_wrong_is_told_as_a_page(log_in: LogIn) -> None:
    client = log_in()
    missing = client.get(f"{HOME}/people/999")
    assert missing.status_code == 404
    assert 'role="alert"' in missing.text
    assert "There is no such person" in missing.text
    assert client.get("/galleries/other").status_code in (403, 404)
    assert client.get(f"{HOME}/people/x").status_code == 422


def test_a_server_without_keys_needs_no_login(client: TestClient) -> None:
    assert client.get("/").url.path == HOME
    assert client.get(f"{HOME}/people").status_code == 200
    foreign = client.post(f"{HOME}/people/1/remove", headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403


def test_a_gallery_that_keeps_pictures_shows_them_and_one_that_does_not_says_so(serve: Serve, drawn_people) -> None:
    client = serve(keep_crops=True)
    assert "keeps no pictures" in client.get(f"{HOME}/people/1").text
    assert client.get(f"{HOME}/crops/1").status_code == 404
    client.post(f"{HOME}/people/1/photos", files=[photo(drawn_people, 1, 3)])
    shown = re.findall(rf'src="({HOME}/crops/\d+)"', client.get(f"{HOME}/people/1").text)
    assert len(shown) == 1
    assert client.get(shown[0]).content.startswith(b"\xff\xd8\xff")
    assert shown[0] in client.get(f"{HOME}/people").text
    client.post(f"{HOME}/people/1/erase", data={"confirm": "person-0001"})
    assert client.get(shown[0]).status_code == 404
