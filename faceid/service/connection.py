"""A connection as uvicorn serves it, with bounds for what comes before the door: the bytes and seconds of a head."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 2**16
HEAD_SECONDS = 30.0


class Connection(HttpToolsProtocol):
    """uvicorn bounds neither: one head without end would stop the server for all, and silence keep a place for good."""

    _beside_bodies = 0  # bytes since the last that was of a body, or ended a request: a head, or what trails a body
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._expect_a_head(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some bytes, and no more of a head than one may have."""
        self._beside_bodies += len(data)
        super().data_received(data)
        if self._beside_bodies > HEAD_BYTES and not self.transport.is_closing():
            if self._answers:
                self.transport.close()
            else:
                self.send_400_response("The head of the request is too long.")

    def on_body(self, body: bytes) -> None:
        """Take some bytes of a body, which the door counts."""
        self._beside_bodies = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a request's end."""
        self._beside_bodies = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        self._expect_a_head(self.timeout_keep_alive + HEAD_SECONDS)

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_a_head(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._close_unless_it_answers)

    def _close_unless_it_answers(self) -> None:
        if not self._answers:
            self.transport.close()
