"""Webhooks: signed, tried again, never in the way, and nothing of the address is told but the host."""

import json
import sys
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from faceid.video.frames import VideoError
from faceid.video.webhooks import EVENT_ID, QUEUE, SIGNATURE, TRIES, Webhook, is_signed, sign
from tests.faceid.video.made_events import event

URL = "https://user:secret@hooks.example/faces?token=secret"


class Receiver:
    """Answers with these codes one after the other, and the last for ever; None breaks the connection."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise httpx.ConnectError("no", request=request)
        return httpx.Response(answer, headers={"Location": "https://elsewhere.example/"})


def deliver(receiver: Callable[[httpx.Request], httpx.Response], count: int = 1) -> list[str]:
    """Send some events and wait; return what was said."""
    said: list[str] = []
    hook = Webhook(URL, "s3cret", said.append, first_wait=0.001, transport=httpx.MockTransport(receiver))
    events = [event("unknown", number) for number in range(count)]
    assert list(hook.through(events)) == events
    hook.close()
    return said


def test_an_event_is_sent_as_its_record_and_signed() -> None:
    receiver = Receiver(200)
    assert deliver(receiver) == []
    (request,) = receiver.requests
    assert json.loads(request.content) == event("unknown", 0).record()
    assert request.headers["Content-Type"] == "application/json"
    assert is_signed(request.headers[SIGNATURE], request.content, "s3cret", now=time.time())
    assert not is_signed(request.headers[SIGNATURE], request.content, "other", now=time.time())
    assert not is_signed(request.headers[SIGNATURE], request.content + b" ", "s3cret", now=time.time())
    assert not is_signed(request.headers[SIGNATURE], request.content, "s3cret", now=time.time() + 301)
    assert len(request.headers[EVENT_ID]) == 32


def test_the_signature_is_hmac_sha256_of_time_and_body() -> None:
    # Worked out with `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
    expected = "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    assert sign(b"{}", "key", 1_700_000_000) == expected
    for header in ("", "v1=00", "t=x,v1=00", "t=99999999999999,v1=00", "t"):
        assert not is_signed(header, b"{}", "key", now=1_700_000_000)


@pytest.mark.parametrize("answers", [(500, 200), (429, 503, 204), (None, None, 200)])
def test_what_may_succeed_later_is_tried_again_with_the_same_id(answers: tuple[int | None, ...]) -> None:
    receiver = Receiver(*answers)
    assert deliver(receiver) == []
    assert len(receiver.requests) == len(answers)
    assert len({request.headers[EVENT_ID] for request in receiver.requests}) == 1


def test_a_refusal_is_final_and_told_without_the_secrets_of_the_address() -> None:
    receiver = Receiver(404)
    assert deliver(receiver) == ["https://hooks.example/faces: an event was not delivered (status 404)"]
    assert len(receiver.requests) == 1


def test_tries_have_an_end_and_the_next_event_its_turn() -> None:
    receiver = Receiver(*[500] * TRIES, 200)
    said = deliver(receiver, count=2)
    assert said == [f"https://hooks.example/faces: an event was not delivered (status 500, {TRIES} tries)"]
    assert len(receiver.requests) == TRIES + 1


def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver(302)
    assert "status 302" in deliver(receiver)[0]
    assert {request.url.host for request in receiver.requests} == {"hooks.example"}


def test_a_slow_receiver_does_not_hold_up_the_watching() -> None:
    going, said = threading.Event(), list[str]()

    def slow(request: httpx.Request) -> httpx.Response:
        going.wait(5)
        return httpx.Response(200)

    hook = Webhook(URL, None, said.append, transport=httpx.MockTransport(slow))
    for number in range(QUEUE + 10):
        hook.send(event("unknown", number))
    going.set()
    hook.close()
    assert 8 <= sum("an event was given up (too many events wait)" in line for line in said) <= 10


def test_without_a_secret_nothing_is_signed() -> None:
    receiver = Receiver(200)
    hook = Webhook("http://localhost/x", None, print, transport=httpx.MockTransport(receiver))
    hook.send(event("unknown", 1))
    hook.close()
    assert SIGNATURE not in receiver.requests[0].headers


@pytest.mark.parametrize("url", ["ftp://host/x", "hooks.example", "http://", "http://[::1/x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(VideoError, match=r"a webhook is an http or https address|this is no address"):
        Webhook(url, None, print)


def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(VideoError, match="the proxy that the environment names cannot be used"):
        Webhook(URL, None, print)


def test_a_secret_that_is_no_utf_8_signs() -> None:
    receiver = Receiver(200)
    hook = Webhook("http://localhost/x", "s\udce9cret", print, transport=httpx.MockTransport(receiver))
    hook.send(event("unknown", 1))
    hook.close()
    assert SIGNATURE in receiver.requests[0].headers
