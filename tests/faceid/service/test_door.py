"""Uploads that are too large, too slow, cut off or strange: a clear answer, nothing kept, and the server goes on."""

import errno
import json
import socket
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import UploadFile
from fastapi.testclient import TestClient

from faceid.service.service import Service
from faceid.vision.decoding import Pixels
from faceid.vision.images import decode
from tests.faceid.service.conftest import Live, Serve, photo

IDENTIFY = "/v1/galleries/default/identify"
BOUNDARY = b"--b\r\n"
PART = b'Content-Disposition: form-data; name="photos"; filename="x.jpg"\r\n\r\n'


def send(port: int, *pieces: bytes, pause: float = 0.0) -> socket.socket:
    """Send pieces of a request as they are."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    for piece in pieces:
        try:
            connection.sendall(piece)
        except OSError:  # the server has answered and closed
            break
        time.sleep(pause)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    data = b""
    with connection:
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def head(**more: str) -> bytes:
    lines = {"Host": "localhost", "Content-Type": "multipart/form-data; boundary=b"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }
    return (
        f"POST {IDENTIFY} HTTP/1.1\r\n".encode()
        + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items())
        + b"\r\n"
    )


def nothing_held(service: Service) -> bool:
    """Whether the bytes of all uploads are given back soon: the server answers first."""
    ends = time.monotonic() + 10
    while service.metrics.uploading._value.get() and time.monotonic() < ends:
        time.sleep(0.05)
    held: float = service.metrics.uploading._value.get()
    return held == 0


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_length_that_is_too_large_is_refused_before_a_byte_is_read(live: Live) -> None:
    port, _ = live(request_bytes=10_000)
    status, problem = answer_of(send(port, head(Content_Length="10001")))
    assert (status, problem["code"]) == (413, "too_large")


def test_a_body_without_a_length_is_cut_off_at_the_bound(live: Live) -> None:
    port, service = live(request_bytes=10_000)
    pieces = [chunk(BOUNDARY + PART), *[chunk(b"x" * 4000)] * 5]
    status, problem = answer_of(send(port, head(Transfer_Encoding="chunked"), *pieces))
    assert (status, problem["code"]) == (413, "too_large")
    assert nothing_held(service)


def test_a_body_that_trickles_is_cut_off_in_time(live: Live) -> None:
    port, service = live(seconds=0.5)
    pieces = [chunk(BOUNDARY + PART), *[chunk(b"x")] * 20]
    status, problem = answer_of(send(port, head(Transfer_Encoding="chunked"), *pieces, pause=0.05))
    assert (status, problem["code"]) == (408, "too_slow")
    assert nothing_held(service)


def test_head_is_answered_as_get_is_without_a_body(live: Live) -> None:
    port, _ = live()
    with httpx.Client(base_url=f"http://localhost:{port}") as client:
        for path, status in (("/v1/ready", 200), ("/galleries/default", 200), (IDENTIFY, 405)):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (status, b"")
        assert client.get("/v1/ready").json()["ready"]  # in the same connection


def test_an_upload_that_is_broken_off_leaves_nothing_behind(live: Live, tmp_path: Path) -> None:
    port, service = live()
    for _ in range(20):
        send(port, head(Content_Length="500000"), BOUNDARY + PART + b"x" * 100_000, pause=0.02).close()
    assert nothing_held(service)
    assert service.room.waiting == 0
    ready = send(port, b"GET /v1/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer_of(ready)[0] == 200


def test_uploads_together_have_a_bound(live: Live) -> None:
    port, _ = live(uploads_bytes=150_000)
    first = send(port, head(Content_Length="200000"), BOUNDARY + PART + b"x" * 100_000)
    time.sleep(0.3)
    status, problem = answer_of(send(port, head(Content_Length="200000"), BOUNDARY + PART + b"x" * 100_000))
    assert (status, problem["code"]) == (503, "busy")
    first.close()


@pytest.mark.parametrize("begun", [b"GET /v1/ready?", b"GET /v1/ready HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_without_end_is_cut_off(live: Live, begun: bytes) -> None:
    port, _ = live()
    with send(port, begun, *[b"x" * 2**20] * 3) as connection, suppress(ConnectionResetError):
        assert connection.recv(100)[:12] in (b"HTTP/1.1 400", b"")
    assert answer_of(send(port, b"GET /v1/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200


def test_what_trails_a_body_without_end_is_cut_off(live: Live) -> None:
    port, service = live()
    pieces = [chunk(BOUNDARY + PART), b"0\r\nX: ", *[b"x" * 2**20] * 3]
    with send(port, head(Transfer_Encoding="chunked"), *pieces) as connection, suppress(ConnectionResetError):
        assert connection.recv(100) == b""
    assert nothing_held(service)


def test_silence_and_a_head_that_trickles_keep_no_place(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceid.service.connection.HEAD_SECONDS", 0.5)
    port, _ = live()
    ready = b"GET /v1/ready HTTP/1.1\r\nHost: localhost\r\n"
    silent, trickling = send(port), send(port, ready)
    with silent, trickling:
        for _ in range(6):
            time.sleep(0.2)
            with suppress(OSError):
                trickling.sendall(b"X: y\r\n")
        assert silent.recv(1) == b""
        with suppress(ConnectionResetError):
            assert trickling.recv(1) == b""
    with send(port) as kept:
        for _ in range(2):
            kept.sendall(ready + b"\r\n")
            time.sleep(1)  # whose connection was kept waits longer
            assert kept.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b"])
def test_who_has_no_key_sends_one_and_no_uploads(live: Live, kind: bytes) -> None:
    port, _ = live()
    login = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    status, problem = answer_of(send(port, login % (kind, 100_000), b"key=" + b"x" * 60_000))
    assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n",
        BOUNDARY + PART,
        b"--b--\r\n",
        b"\x00" * 100,
        BOUNDARY + b"Content-Disposition: x\r\n\r\n1\r\n--b--",
    ],
)
def test_a_form_that_is_broken_is_told_so(client: TestClient, body: bytes) -> None:
    answer = client.post(IDENTIFY, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"] in ("bad_request", "invalid_request")


def test_a_disk_that_takes_no_upload_is_not_the_clients_mistake(
    client: TestClient, drawn_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    answer = client.post(IDENTIFY, files=[photo(drawn_people, 1, 1)])
    assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
    page = client.post("/galleries/default", files=[photo(drawn_people, 1, 1)])
    assert (page.status_code, "No space left on device" in page.text) == (503, True)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data", "image/jpeg", ""])
def test_what_is_no_form_is_told_so(client: TestClient, kind: str) -> None:
    answer = client.post(IDENTIFY, content=b'{"photos": 1}', headers={"Content-Type": kind})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_more_photos_than_are_taken_are_refused(serve: Serve, drawn_people: Path) -> None:
    answer = serve(photos=3).post(IDENTIFY, files=[photo(drawn_people, 1, 1)] * 4)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def png_of(width: int, height: int) -> bytes:
    """The header of a PNG of that size, and hardly any data."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", zlib.compress(bytes(100))) + piece(b"IEND", b"")
    )


def test_a_photo_that_is_too_large_is_an_answer_and_the_others_go_on(serve: Serve, drawn_people: Path) -> None:
    good = photo(drawn_people, 4, 3)
    client = serve(photo_bytes=len(good[1][1]), photo_pixels=1_000_000)
    parts = [("photos", ("bytes", good[1][1] + b"x")), ("photos", ("pixels", png_of(1001, 1000))), good]
    answers = client.post(IDENTIFY, files=parts, data={"threshold": "0.3"}).json()["answers"]
    assert [one["decision"] for one in answers] == ["error", "error", "identified"]
    assert [one["reason_codes"] for one in answers] == [["too_large"], ["too_large"], []]


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "x" * 300, "<script>alert(1)</script>", "=cmd()", "a\u202egpj.exe", "ä" * 200],
)
def test_a_files_name_is_a_label_and_nothing_else(client: TestClient, drawn_people: Path, name: str) -> None:
    data = photo(drawn_people, 4, 3)[1][1]
    (one,) = client.post(IDENTIFY, files=[("photos", (name, data))], data={"threshold": "0.3"}).json()["answers"]
    assert one["decision"] == "identified"
    assert one["source"] == name[:255]


def test_a_name_in_an_encoding_of_the_forms_own_is_a_label_too(client: TestClient) -> None:
    answer = client.post(
        IDENTIFY,
        content=BOUNDARY + PART.replace(b"x.jpg", b"+2AA-.jpg") + b"no photo\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b; charset=utf-7"},
    )
    assert [one["source"] for one in answer.json()["answers"]] == ["\\ud800.jpg"]


def test_a_crowd_is_cut_to_the_faces_that_are_taken(serve: Serve, drawn_people: Path) -> None:
    import io

    from PIL import Image

    crowd = Image.new("RGB", (600, 200))
    for place in range(3):
        with Image.open(drawn_people / f"person-{place + 1:04d}" / "1.jpg") as image:
            crowd.paste(image.resize((200, 200)), (200 * place, 0))
    buffer = io.BytesIO()
    crowd.save(buffer, "PNG")
    files = [("photos", ("crowd", buffer.getvalue()))]
    all_of_them = serve().post(IDENTIFY, files=files, data={"threshold": "0.3"}).json()["answers"]
    best = serve(faces=2).post(IDENTIFY, files=files, data={"threshold": "0.3"}).json()["answers"]
    assert len(all_of_them) == 3
    assert best == [{**one, "reason_codes": [*one["reason_codes"], "crowd"]} for one in all_of_them[:2]]


def test_a_request_without_photos_is_as_long_as_words_are(client: TestClient) -> None:
    unknown = b"{" + b",".join(b'"%d": 1' % number for number in range(10_000)) + b"}"
    place = "/v1/galleries/default/people/1/photos/remove"
    for kind in ("application/json", "", "application/x-www-form-urlencoded"):
        answer = client.post(place, content=unknown, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_folder_of_many_photos_is_not_held_in_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def packed(photos: list[UploadFile]) -> UploadFile:
        held.extend(photo._in_memory for photo in photos)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("faceid.service.page.enroll._packed", packed)
    files = [("photos", (f"people/Ann/{number}.jpg", bytes(500_000))) for number in range(3)]
    client.post("/galleries/default/enroll/folder", files=files)
    assert held == [False] * 3


def test_photos_that_nobody_waits_for_any_more_hold_no_thread(
    serve: Serve, drawn_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def slow(data: bytes, source: str) -> Pixels:
        begun.append(source)
        time.sleep(0.5)
        return decode(data, source)

    monkeypatch.setattr("faceid.vision.picture.decode", slow)
    client = serve(seconds=1.5, workers=1)
    answer = client.post(IDENTIFY, files=[photo(drawn_people, 1, 1)] * 30)
    assert (answer.status_code, answer.json()["code"]) == (408, "too_slow")
    client.app.state.service.room.close()  # type: ignore[attr-defined]  # waits for what was begun
    assert len(begun) < 10
