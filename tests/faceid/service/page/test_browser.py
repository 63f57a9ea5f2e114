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

import pytest
import uvicorn

from faceid.service.app import create_app
from faceid.service.database import ServiceDatabase
from faceid.service.keys import make_key
from faceid.service.settings import make_settings

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
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    pytest.importorskip("axe_playwright_python", reason="no axe-core (pip install axe-playwright-python)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


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
    for place in ("", "/people", "/people/1", "/enroll", "/calibration", "/calibration/trial", "/jobs", "/health"):
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
