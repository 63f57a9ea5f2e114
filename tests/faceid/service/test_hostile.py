"""A thousand hostile uploads: each gets a clear answer below 500, nothing of them is kept, and the server goes on."""

import io
import random
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faceid.service.conftest import Live
from tests.faceid.service.test_door import BOUNDARY, PART, head, send
from tests.faceid.vision.zoo import zoo

pytestmark = pytest.mark.slow

PLACE = "/v1/galleries/default"
UPLOADS = 1000
NAMES = ("../../etc/passwd", "x\x00y.jpg", "x" * 300, "=1+1", "<script>", "a\u202egpj.exe", " ", "ü.jpg")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes turned over, or its end cut off."""
    copy = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
    return bytes(copy[: rng.randrange(1, len(copy) + 1)] if rng.random() < 0.3 else copy)


def packed(data: bytes, rng: random.Random) -> bytes:
    """A zip file: a bomb, with paths for names, or damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(rng.choice(NAMES) + "/" + rng.choice(NAMES), data)
        if rng.random() < 0.3:
            archive.writestr("a/bomb.jpg", bytes(20_000_000))
    return damaged(buffer.getvalue(), rng) if rng.random() < 0.5 else buffer.getvalue()


def wanted(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Kinds of upload with their bytes, in an order of chance."""
    animals = [animal.data for animal in zoo() if animal.data]
    kinds = ["photo", "damaged", "noise", "type", "zip", "many", "enrol", "cut off"]
    for number in range(UPLOADS):
        kind = kinds[number % len(kinds)]
        data = rng.choice(animals)[:2_000_000]
        yield kind, damaged(data, rng) if kind == "damaged" else rng.randbytes(5000) if kind == "noise" else data


def upload(http: httpx.Client, port: int, kind: str, data: bytes, rng: random.Random) -> str:
    """Send one; returns its status and code."""
    name = rng.choice(NAMES)
    if kind == "cut off":
        send(port, head(Content_Length=str(len(data) + 1000)), BOUNDARY + PART + data[:100_000]).close()
        return "cut off"
    if kind == "type":
        kind_told = rng.choice(("image/jpeg", "x", "multipart/form-data; boundary="))
        answer = http.post(f"{PLACE}/identify", content=data, headers={"Content-Type": kind_told})
    elif kind == "zip":
        answer = http.post(f"{PLACE}/jobs/enroll", files={"archive": (name, packed(data, rng))})
    elif kind == "enrol":
        answer = http.post(f"{PLACE}/people", data={"name": rng.choice(NAMES)}, files={"photos": (name, data)})
    else:
        parts = [("photos", (name, data))] * (70 if kind == "many" and rng.random() < 0.2 else 2)
        answer = http.post(f"{PLACE}/identify", files=parts, data={"threshold": "0.5"})
    assert answer.headers["x-request-id"]
    return str(answer.status_code) if answer.is_success else f"{answer.status_code} {answer.json()['code']}"


def test_a_thousand_hostile_uploads_do_no_harm(live: Live, tmp_path: Path) -> None:
    port, service = live(requests_a_minute=0, photo_pixels=4_000_000, request_bytes=8_000_000)
    before = threading.active_count()
    rng = random.Random(5)
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=600) as http, ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(upload, http, port, kind, data, random.Random(rng.random())) for kind, data in wanted(rng)]
        outcomes = Counter(future.result() for future in sent)
        told = [outcome for outcome in outcomes if outcome.startswith("5") and outcome != "503 busy"]
        assert told == [], outcomes
        assert outcomes["200"] > UPLOADS / 4
        for job in http.get(f"{PLACE}/jobs").json()["jobs"]:
            if job["state"] in ("queued", "running"):
                http.post(f"{PLACE}/jobs/{job['id']}/cancel")
        assert http.get("/v1/ready").status_code == 200
        people = http.get(f"{PLACE}/people", params={"removed": True}).json()["people"]
        assert len(people) == 6  # a picture without a face enrols nobody
    assert service.metrics.uploading._value.get() == 0
    assert service.room.waiting == 0
    assert threading.active_count() <= before + 12  # the pools', which are bounded
    assert [path for path in (tmp_path / "data").rglob("*") if path.suffix in (".part", ".jpg")] == []
