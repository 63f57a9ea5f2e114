"""The page in a real browser: a receptionist's day, with an eye on the console, on other hosts and on axe-core."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uvicorn
from PIL import Image

from faceid.service.app import create_app
from faceid.service.database import ServiceDatabase
from faceid.service.keys import make_key
from faceid.service.settings import make_settings
from faceid.vision.images import read_photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SERIOUS = ("serious", "critical")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)"),
]


@dataclass
class Visit:
    """A page, its server's address, and what was wrong so far: in the console, with other hosts, with access."""

    page: Page
    server: str
    faults: list[str] = field(default_factory=list)

    def go(self, place: str) -> None:
        self.page.goto(self.server + place)

    def examine(self, name: str) -> None:
        """Look for faults that keep people out, for a page wider than the window, and take a picture if asked to."""
        from axe_playwright_python.sync_playwright import Axe

        for fault in Axe().run(self.page).response["violations"]:
            if fault["impact"] in SERIOUS:
                self.faults += [f"{name}: {fault['id']}: {node['html'][:120]}" for node in fault["nodes"]]
        if self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.faults.append(f"{name}: wider than the window")
        if folder := os.environ.get("FACEID_PAGE_PICTURES"):
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.fixture
def server(gallery_path: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server on a port of its own; its address and a key that opens everything."""
    with ServiceDatabase(tmp_path / "data") as database:
        _, key = make_key(database, "front desk", {"*": "admin"})
    values = {"galleries": {"default": gallery_path}, "data": tmp_path / "data", "workers": 1, "keep_crops": True}
    running = uvicorn.Server(uvicorn.Config(create_app(make_settings(values)), port=0, log_config=None))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started and thread.is_alive():
        time.sleep(0.05)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", key
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def camera(drawn_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera sees: a drawn person who stands before a grey wall, as a film of one picture."""
    wall = np.full((480, 640, 3), 120, np.uint8)
    face = read_photo(drawn_people / "person-0003" / "3.jpg").pixels
    top, left = (480 - face.shape[0]) // 2, (640 - face.shape[1]) // 2
    wall[top : top + face.shape[0], left : left + face.shape[1]] = face
    film = tmp_path_factory.mktemp("camera") / "seen.mjpeg"
    Image.fromarray(wall).save(film, "jpeg", quality=95)
    film.write_bytes(film.read_bytes() * 3)
    return film


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    pytest.importorskip("axe_playwright_python", reason="no axe-core (pip install axe-playwright-python)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *_camera_of(camera)])
        yield started
        started.close()


def _camera_of(film: Path) -> list[str]:
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",  # nobody is there to allow it
        f"--use-file-for-fake-video-capture={film}",
    ]


def visit(browser: Browser, server: tuple[str, str], width: int, scheme: str, language: str = "en") -> Visit:
    """Open a window and log in."""
    address, key = server
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(60_000)
    found = Visit(page, address)
    page.on("console", lambda said: found.faults.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: found.faults.append(f"script: {error}"))
    own = (address, "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(own) else found.faults.append(f"host: {asked.url}"))
    found.go("/")
    found.examine(f"login-{width}-{scheme}")
    page.keyboard.type(key)  # the field has the focus: nobody needs a mouse
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask")
    return found


def enroll(found: Visit, name: str, *photos: Path) -> None:
    found.go("/galleries/default/enroll")
    found.page.fill("input[name=name]", name)
    found.page.set_input_files("#photos", [str(photo) for photo in photos])
    found.page.click("#one > button")
    found.page.wait_for_selector("td.status.enrolled")


def verdict_on(found: Visit, photo: Path) -> str:
    found.go("/galleries/default")
    found.page.set_input_files("#photos", [str(photo)])
    found.page.click("#ask .fields button")
    found.page.wait_for_selector("#answers .verdict")
    return found.page.inner_text("#answers .verdict")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of people who are not in the gallery."""
    from benchmarks.demo.people import write_people

    folder = tmp_path_factory.mktemp("others")
    write_people(folder, 9, 3, seed=99)
    return folder


def test_a_receptionist_does_a_days_work(browser: Browser, server: tuple[str, str], others: Path) -> None:
    found = visit(browser, server, 1200, "light")
    page = found.page
    enroll(found, "Ada Lovelace", others / "person-0007" / "1.jpg", others / "person-0007" / "2.jpg")
    found.examine("enrolled")
    enroll(found, "Grace Hopper", others / "person-0008" / "1.jpg")

    assert verdict_on(found, others / "person-0007" / "3.jpg") == "Ada Lovelace"
    found.examine("known")
    assert verdict_on(found, others / "person-0009" / "1.jpg") == "Nobody in this gallery"
    found.examine("unknown")

    found.go("/galleries/default/people")
    page.fill("#search", "grace")
    page.locator("#people li", has_text="person-0001").wait_for(state="detached")
    page.click("text=Grace Hopper")
    page.click("text=Same person as")
    page.fill("input[name=other]", "Ada Lovelace")
    page.click("button:text-is('Merge')")
    page.wait_for_selector("text=This is the person who stays")
    assert page.locator(".grid img").count() == 3
    found.examine("merged")

    found.go("/galleries/default/changes")
    found.examine("changes")
    page.locator("button:text-is('Take back')").first.click()
    page.wait_for_selector("text=Taken back.")
    found.go("/galleries/default/people?search=grace")
    page.click("text=Grace Hopper")
    page.click("summary:text-is('Erase for good')")
    page.fill("input[name=confirm]", "Grace Hopper")
    page.click("button:text-is('Erase for good')")
    page.wait_for_selector("text=Erased for good.")
    assert page.locator("text=Grace Hopper").count() == 0
    assert page.locator("text=Ada Lovelace").count() == 1
    assert found.faults == []


@pytest.mark.parametrize(("width", "scheme", "language"), [(390, "light", "de"), (1200, "dark", "en")])
def test_every_page_is_for_everybody(browser, server, width: int, scheme: str, language: str) -> None:
    found = visit(browser, server, width, scheme, language)
    for place in (
        "",
        "/people",
        "/people/1",
        "/enroll",
        "/calibration",
        "/calibration/trial",
        "/jobs",
        "/review",
        "/health",
    ):
        found.go(f"/galleries/default{place}")
        for summary in found.page.locator("summary").all():
            summary.click()
        found.examine(f"{place.strip('/').replace('/', '-') or 'identify'}-{width}-{scheme}")
    assert found.faults == []


def test_a_pasted_photo_is_answered_and_a_form_works_without_scripts(browser, server, drawn_people: Path) -> None:
    found = visit(browser, server, 1200, "light")
    photo = drawn_people / "person-0002" / "3.jpg"
    found.page.evaluate(
        """(bytes) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", { type: "image/jpeg" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
        }""",
        list(photo.read_bytes()),
    )
    found.page.wait_for_selector("#answers .verdict")
    assert found.page.inner_text("#answers .verdict") == "person-0002"
    assert found.faults == []

    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(server[0])
    plain.fill("#key", server[1])
    plain.click("form[action='/login'] button")
    plain.set_input_files("#photos", [str(photo)])
    plain.click("#ask .fields button")
    plain.wait_for_selector("#answers .verdict")
    assert plain.inner_text("#answers .verdict") == "person-0002"


def test_a_photo_is_taken_by_the_camera(browser, server) -> None:
    found = visit(browser, server, 1200, "light")
    page = found.page
    page.locator("[data-camera]").click()
    wait_until(page, "() => document.querySelector('video').videoWidth > 0")
    found.examine("camera")
    page.locator("[data-take]").click()
    page.wait_for_selector("#answers .verdict")
    assert page.inner_text("#answers .verdict") == "person-0003"
    assert page.evaluate("document.querySelector('video').srcObject") is None  # its light is off
    assert found.faults == []


def wait_until(page: Page, holds: str) -> None:
    """Wait for something that no element shows; the page's policy forbids what playwright has for it."""
    ends = time.monotonic() + 60
    while not page.evaluate(holds):
        assert time.monotonic() < ends, holds
        time.sleep(0.1)


def test_a_camera_that_is_not_there_is_told_of(browser, server) -> None:
    found = visit(browser, server, 1200, "light")
    found.page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('none')) }")
    found.page.locator("[data-camera]").click()
    found.page.wait_for_selector("[data-no-camera]:not([hidden])")
    assert found.faults == []


def test_photos_that_are_dropped_are_answered_each_and_other_files_are_left(browser, server, drawn_people) -> None:
    found = visit(browser, server, 390, "dark")
    photos = [list((drawn_people / f"person-000{n}" / "3.jpg").read_bytes()) for n in (1, 2)]
    found.page.evaluate(
        """(photos) => {
            const carried = new DataTransfer();
            photos.forEach((bytes, number) =>
                carried.items.add(new File([new Uint8Array(bytes)], `${number}.jpg`, { type: "image/jpeg" })));
            carried.items.add(new File(["a,b"], "list.csv", { type: "text/csv" }));
            const place = document.querySelector(".drop");
            for (const kind of ["dragover", "drop"])
                place.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
        }""",
        photos,
    )
    found.page.wait_for_selector("#answers .verdict")
    assert found.page.locator("#answers .verdict").all_inner_texts() == ["person-0001", "person-0002"]
    found.examine("dropped-390-dark")
    assert found.faults == []


def test_a_folder_of_people_is_enrolled_and_each_refusal_has_its_reason(browser, server, others, tmp_path) -> None:
    shutil.copytree(others / "person-0005", tmp_path / "staff" / "Emmy Noether")
    (tmp_path / "staff" / "Emmy Noether" / "notes.jpg").write_text("no photo")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "staff" / "Emmy Noether" / "wall.jpg")
    found = visit(browser, server, 1200, "light")
    page = found.page
    found.go("/galleries/default/enroll")
    page.set_input_files("input[webkitdirectory]", str(tmp_path / "staff"))
    page.click("form[action$='/enroll/folder'] button")
    page.wait_for_selector("td.status.failed")
    assert sorted(page.locator("td.status").all_inner_texts()) == [
        "cannot be used",
        *["enrolled"] * 3,
        "not taken",
    ]
    whole = page.inner_text("main")
    assert "this is not a photo" in whole
    assert "no face" in whole
    found.examine("folder")
    found.go("/galleries/default/people?search=emmy")
    assert page.locator("#people li").count() == 1
    assert found.faults == []


def test_what_the_rates_mean_and_who_would_be_taken_for_somebody_is_shown(browser, server) -> None:
    found = visit(browser, server, 1200, "light")
    page = found.page
    found.go("/galleries/default/calibration")
    assert page.locator("tbody tr").count() == 6
    page.click("#trial button")
    page.wait_for_selector("h1:has-text('Who would be taken for somebody')")
    found.examine("trial")
    assert "strangers" in page.inner_text("main")
    assert found.faults == []


def test_a_day_goes_without_a_mouse(browser, server, drawn_people: Path) -> None:
    """Log in (`visit` types), identify, find a person and rename them: with Tab, Enter and letters alone."""
    found = visit(browser, server, 1200, "light")
    page = found.page
    with page.expect_file_chooser() as chooser:  # listens from here on, so it surely hears the key
        tab_to(page, "#photos")
        page.keyboard.press("Enter")
    chooser.value.set_files(str(drawn_people / "person-0002" / "3.jpg"))
    tab_to(page, "#ask .fields button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answers .verdict")
    assert page.evaluate("document.activeElement.id") == "answers"  # what came is read next
    tab_to(page, "#answers .verdict a")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('person-0002')")
    tab_to(page, "summary:has-text('Rename')")
    page.keyboard.press("Enter")
    tab_to(page, "input[name=name]")
    page.keyboard.press("Control+A")
    page.keyboard.type("Mary Somerville")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Mary Somerville')")
    assert found.faults == []


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus, and see that people see where they are."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector.split(":has-text")[0]) and (
            ":has-text" not in selector or page.evaluate("document.activeElement.innerText") in selector
        ):
            shown = page.evaluate(
                "(({ outlineStyle, boxShadow }) => outlineStyle !== 'none' || boxShadow !== 'none')"
                "(getComputedStyle(document.activeElement))"
            )
            assert shown, f"nobody sees that {selector} has the focus"
            return
    raise AssertionError(f"Tab never comes to {selector}")
