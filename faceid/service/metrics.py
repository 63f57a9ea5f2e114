"""What Prometheus reads at /metrics: numbers of requests, seconds, faces and decisions; no name, no key, no person."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The numbers of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "faceid_requests", "Requests that were answered", ["route", "method", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "faceid_request_seconds", "From the first byte to the answer", ["route"], registry=self._registry
        )
        self.waiting = Gauge("faceid_waiting", "Requests that wait for a worker", registry=self._registry)
        self.uploading = Gauge("faceid_upload_bytes", "Bytes of requests being read", registry=self._registry)
        self.faces = Counter("faceid_faces", "Faces that were searched for", ["gallery"], registry=self._registry)
        self.decisions = Counter(
            "faceid_decisions", "Answers by decision", ["gallery", "decision"], registry=self._registry
        )
        self.enrolled = Counter(
            "faceid_enrolments",
            "Photos offered for enrolment by status",
            ["gallery", "status"],
            registry=self._registry,
        )
        self.batches = Histogram(
            "faceid_batch_photos",
            "Photos that were computed together",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)
