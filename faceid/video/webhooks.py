"""Events to other programs by HTTP: signed, tried again, and never in the way of watching.

The signature is that of Stripe and Svix: HMAC-SHA256 of `TIMESTAMP.BODY` under a shared secret, so that the receiver
knows who sent it, that it is whole, and that it is not an old one sent again.
"""

import hashlib
import hmac
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from faceid.video.events import Event
from faceid.video.frames import VideoError
from faceid.video.pyav import parts_of, safe_name

if TYPE_CHECKING:
    import httpx

SECRET = "FACEID_WEBHOOK_SECRET"
"""Environment variable with the secret that signs; a command line is seen by others."""

SIGNATURE, EVENT_ID = "FaceID-Signature", "FaceID-Event-Id"
TRIES = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between two tries, doubled each time
QUEUE = 1000  # events that wait; beyond that the oldest is given up
_SECONDS = 10.0
_TO_END = 15.0  # seconds in which what waits may still be delivered when watching ends


class Webhook:
    """Delivers events to one address from a thread of its own, in order.

    Tried again where the receiver cannot be reached, is busy (429) or fails (5xx); another refusal is final.
    `say` is told what was given up. Redirects are not followed.
    """

    def __init__(
        self,
        url: str,
        secret: str | None,
        say: Callable[[str], None],
        *,
        first_wait: float = FIRST_WAIT,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise VideoError("webhooks need httpx: pip install 'faceid-engine[video]'") from error
        if parts_of(url).scheme not in ("http", "https") or not parts_of(url).netloc:
            raise VideoError(f"{safe_name(url)}: a webhook is an http or https address")
        self._url = url
        self._name = safe_name(url)
        self._secret = secret
        self._say = say
        self._wait = first_wait
        try:
            self._client = httpx.Client(timeout=_SECONDS, transport=transport)
        except (ImportError, ValueError) as error:  # what the environment says of proxies
            raise VideoError(f"{self._name}: the proxy that the environment names cannot be used ({error})") from error
        self._failures: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(QUEUE)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faceid-webhook", daemon=True)
        self._thread.start()

    def through(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on and send them."""
        for event in events:
            self.send(event)
            yield event

    def send(self, event: Event) -> None:
        """Queue an event; where too many wait, the oldest is given up."""
        body = json.dumps(event.record(), ensure_ascii=False, allow_nan=False).encode()
        while True:
            try:
                self._waiting.put_nowait(body)
                return
            except queue.Full:
                self._give_up("too many events wait")

    def close(self) -> None:
        """Deliver what waits, for some seconds at most."""
        self._ending.set()
        try:
            self._waiting.put(None, timeout=_TO_END)
            self._thread.join(_TO_END)
        except queue.Full:
            pass
        left = self._waiting.qsize()
        if self._thread.is_alive() or left:
            self._say(f"{self._name}: {left or 1} events were not delivered")
        self._client.close()

    def _give_up(self, why: str) -> None:
        try:
            self._waiting.get_nowait()
        except queue.Empty:
            return
        self._say(f"{self._name}: an event was given up ({why})")

    def _run(self) -> None:
        while (body := self._waiting.get()) is not None:
            problem = self._deliver(body)
            if problem:
                self._say(f"{self._name}: an event was not delivered ({problem})")

    def _deliver(self, body: bytes) -> str | None:
        """Try to deliver; return why it failed for good."""
        wait, problem = self._wait, ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(wait * random.uniform(0.8, 1.2))
                wait = min(2 * wait, LONGEST_WAIT)
            try:
                answer = self._client.post(self._url, content=body, headers=self._headers(body))
            except self._failures as error:
                problem = type(error).__name__
                continue
            if answer.is_success:
                return None
            problem = f"status {answer.status_code}"
            if answer.status_code != 429 and answer.status_code < 500:
                return problem
        return f"{problem}, {TRIES} tries"

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", EVENT_ID: hashlib.sha256(body).hexdigest()[:32]}
        if self._secret:
            headers[SIGNATURE] = sign(body, self._secret, int(time.time()))
        return headers


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """Return the value of the header: `t=TIMESTAMP,v1=HEX`."""
    mac = hmac.new(secret.encode("utf-8", "surrogateescape"), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


def is_signed(header: str, body: bytes, secret: str, *, now: float, tolerance: float = 300.0) -> bool:
    """Say whether a header's signature is ours for this body, and made within `tolerance` seconds of `now`."""
    parts: dict[str, Any] = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    stamp = parts.get("t", "")
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12 or abs(now - int(stamp)) > tolerance:
        return False
    return hmac.compare_digest(sign(body, secret, int(stamp)), header)
