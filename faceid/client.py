"""A client of a server (`faceid serve`), for programs: calls, plain or awaited. Needs faceid-engine[client].

with Client("http://localhost:8321", key="faceid_...") as client:
    for answer in client.identify(["visitor.jpg"]):
        print(answer["decision"], answer["identity"])

Records are those of the command line (docs/records.md). What the server refuses is a `ServiceProblem`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx

from faceid.records import (
    AnswerRecord,
    EnrollmentRecord,
    Job,
    PersonRecord,
    TemplateRecord,
    UndoableRecord,
    VerificationRecord,
)
from indexer.errors import FaceIdError
from indexer.text import printable

Photo = str | os.PathLike[str] | bytes
"""A file, or the bytes of one."""

Record = dict[str, Any]
Result = TypeVar("Result")
_SECONDS = 60.0


class ServiceProblem(FaceIdError):
    """What the server refused: `code` of the table in docs/serving.md, `status`, `request_id`, and all that it said.

    `retry_after` says after how many seconds another try may succeed; None where it would not.
    """

    def __init__(self, status: int, said: Mapping[str, Any], retry_after: float | None) -> None:
        self.status = status
        self.code = str(said.get("code", "unknown"))
        self.request_id = said.get("request_id")
        self.said = dict(said)
        self.retry_after = retry_after
        super().__init__(f"{self.code}: {said.get('detail', 'the server said nothing')}")


@dataclass(frozen=True)
class EnrolledPerson:
    """A person as the gallery knows them now, and what became of each photo."""

    person: PersonRecord
    photos: list[EnrollmentRecord]


@dataclass(frozen=True)
class _Call(Generic[Result]):
    """One request, and what its answer means."""

    method: str
    path: str
    result: Callable[[Any], Result]
    json: Any = None
    data: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    files: Sequence[tuple[str, Photo]] = ()
    idempotency_key: str | None = None


class _Calls:
    """Every call of the API, made but not yet sent."""

    def __init__(self, gallery: str) -> None:
        self._gallery = gallery
        self._place = f"/v1/galleries/{gallery}"

    def identify(
        self,
        photos: Sequence[Photo],
        fpir: float | None,
        threshold: float | None,
        top_k: int,
        faces: str,
    ) -> _Call[list[AnswerRecord]]:
        fields = _given(fpir=fpir, threshold=threshold, top_k=top_k, faces=faces)
        files = [("photos", photo) for photo in _several(photos)]
        return _Call("POST", f"{self._place}/identify", lambda said: said["answers"], data=fields, files=files)

    def verify(
        self, first: Photo, second: Photo, far: float | None, threshold: float | None
    ) -> _Call[VerificationRecord]:
        return _Call(
            "POST",
            "/v1/verify",
            lambda said: said["answer"],
            data=_given(far=far, threshold=threshold),
            params={"gallery": self._gallery},
            files=[("first", first), ("second", second)],
        )

    def people(
        self, search: str | None, removed: bool, cursor: str | None
    ) -> _Call[tuple[list[PersonRecord], str | None]]:
        params = _given(search=search, cursor=cursor, removed=str(removed).lower(), limit=1000)
        return _Call("GET", f"{self._place}/people", lambda said: (said["people"], said["next_cursor"]), params=params)

    def person(self, person: int) -> _Call[tuple[PersonRecord, list[TemplateRecord]]]:
        return _Call("GET", f"{self._place}/people/{person}", lambda said: (said["person"], said["templates"]))

    def enroll(
        self, name: str, photos: Sequence[Photo], external_id: str | None, faces: str, idempotency_key: str | None
    ) -> _Call[EnrolledPerson]:
        return _Call(
            "POST",
            f"{self._place}/people",
            _enrolled,
            data=_given(name=name, external_id=external_id, faces=faces),
            files=[("photos", photo) for photo in _several(photos)],
            idempotency_key=idempotency_key,
        )

    def add_photos(
        self, person: int, photos: Sequence[Photo], faces: str, idempotency_key: str | None
    ) -> _Call[EnrolledPerson]:
        return _Call(
            "POST",
            f"{self._place}/people/{person}/photos",
            _enrolled,
            data={"faces": faces},
            files=[("photos", photo) for photo in _several(photos)],
            idempotency_key=idempotency_key,
        )

    def change(self, method: str, what: str, json: Any, idempotency_key: str | None) -> _Call[PersonRecord]:
        path = f"{self._place}/people/{what}"
        return _Call(method, path, lambda said: said["person"], json=json, idempotency_key=idempotency_key)

    def erase(self, person: int, confirm: str) -> _Call[str]:
        path = f"{self._place}/people/{person}/erase"
        return _Call("POST", path, lambda said: said["state"], json={"confirm": confirm})

    def undo(self, entry: int | None, idempotency_key: str | None) -> _Call[UndoableRecord]:
        return _Call(
            "POST",
            f"{self._place}/undo",
            lambda said: said["entry"],
            json={"entry": entry},
            idempotency_key=idempotency_key,
        )

    def undoable(self) -> _Call[list[UndoableRecord]]:
        return _Call("GET", f"{self._place}/undo", lambda said: said["entries"])

    def thresholds(self, fpir: Sequence[float], far: Sequence[float]) -> _Call[list[Record]]:
        params = {name: list(rates) for name, rates in (("fpir", fpir), ("far", far)) if rates}
        return _Call("GET", f"{self._place}/thresholds", lambda said: said["rows"], params=params)

    def about(self, what: str, **params: int) -> _Call[Record]:
        return _Call("GET", self._place + what, lambda said: said, params=params)

    def embed(self, photos: Sequence[Photo], faces: str) -> _Call[list[Record]]:
        files = [("photos", photo) for photo in _several(photos)]
        params = {"gallery": self._gallery}
        return _Call("POST", "/v1/embed", lambda said: said["faces"], data={"faces": faces}, params=params, files=files)

    def review(self, again: bool) -> _Call[list[Record]]:
        params = {"again": str(again).lower()}
        return _Call("GET", f"{self._place}/review", lambda said: said["findings"], params=params)

    def answer(self, finding: str, answer: str) -> _Call[None]:
        return _Call("POST", f"{self._place}/review", lambda _: None, json={"finding": finding, "answer": answer})

    def begin(self, kind: str, archive: Photo | None, idempotency_key: str | None, **fields: str | None) -> _Call[Job]:
        return _Call(
            "POST",
            f"{self._place}/jobs/{kind}",
            _job,
            data=_given(**fields) or None,
            files=[] if archive is None else [("archive", archive)],
            idempotency_key=idempotency_key,
        )

    def jobs(self) -> _Call[list[Job]]:
        return _Call("GET", f"{self._place}/jobs", lambda said: [Job(**one) for one in said["jobs"]])

    def job(self, job: str) -> _Call[Job]:
        return _Call("GET", f"{self._place}/jobs/{job}", _job)

    def job_records(self, job: str) -> _Call[list[EnrollmentRecord]]:
        return _Call("GET", f"{self._place}/jobs/{job}/records", lambda said: said["records"])

    def cancel_job(self, job: str) -> _Call[Job]:
        return _Call("POST", f"{self._place}/jobs/{job}/cancel", _job)


class Client:
    """A server's gallery. Raises ServiceProblem for what the server refuses, httpx's errors where it is not reached."""

    def __init__(self, address: str, *, key: str | None = None, gallery: str = "default") -> None:
        self._http = httpx.Client(base_url=address, headers=_headers(key), timeout=_SECONDS)
        self._calls = _Calls(gallery)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def identify(
        self,
        photos: Sequence[Photo],
        *,
        fpir: float | None = None,
        threshold: float | None = None,
        top_k: int = 5,
        faces: str = "all",
    ) -> list[AnswerRecord]:
        """Say who is on each photo; the server's usual `fpir` where neither that nor `threshold` is given."""
        return self._send(self._calls.identify(photos, fpir, threshold, top_k, faces))

    def verify(
        self, first: Photo, second: Photo, *, far: float | None = None, threshold: float | None = None
    ) -> VerificationRecord:
        """Say whether two photos show the same person."""
        return self._send(self._calls.verify(first, second, far, threshold))

    def people(self, search: str | None = None, *, removed: bool = False) -> list[PersonRecord]:
        """List everybody whose name or external id has `search` in it, page after page."""
        found, cursor = self._send(self._calls.people(search, removed, None))
        while cursor is not None:
            more, cursor = self._send(self._calls.people(search, removed, cursor))
            found += more
        return found

    def person(self, person: int) -> tuple[PersonRecord, list[TemplateRecord]]:
        """Return one person and the photos that were enrolled."""
        return self._send(self._calls.person(person))

    def enroll(
        self,
        name: str,
        photos: Sequence[Photo],
        *,
        external_id: str | None = None,
        faces: str = "exactly-one",
        idempotency_key: str | None = None,
    ) -> EnrolledPerson:
        """Enrol photos of one person."""
        return self._send(self._calls.enroll(name, photos, external_id, faces, idempotency_key))

    def add_photos(
        self, person: int, photos: Sequence[Photo], *, faces: str = "exactly-one", idempotency_key: str | None = None
    ) -> EnrolledPerson:
        """Enrol more photos of somebody."""
        return self._send(self._calls.add_photos(person, photos, faces, idempotency_key))

    def rename(self, person: int, name: str, *, idempotency_key: str | None = None) -> PersonRecord:
        """Give a person another name."""
        return self._send(self._calls.change("PATCH", f"{person}", {"name": name}, idempotency_key))

    def merge(self, person: int, into: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Make a person's photos those of another, who is returned."""
        return self._send(self._calls.change("POST", f"{person}/merge", {"into": into}, idempotency_key))

    def remove(self, person: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Hide a person from searches."""
        return self._send(self._calls.change("POST", f"{person}/remove", None, idempotency_key))

    def restore(self, person: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Bring a removed person back."""
        return self._send(self._calls.change("POST", f"{person}/restore", None, idempotency_key))

    def erase(self, person: int, *, confirm: str) -> str:
        """Destroy a person for good; `confirm` is the name. Returns `done` or `pending`."""
        return self._send(self._calls.erase(person, confirm))

    def undo(self, entry: int | None = None, *, idempotency_key: str | None = None) -> UndoableRecord:
        """Take the newest change back, or the one that is named."""
        return self._send(self._calls.undo(entry, idempotency_key))

    def remove_photos(
        self, person: int, template_ids: Sequence[int], *, idempotency_key: str | None = None
    ) -> PersonRecord:
        """Hide single photos of a person from searches."""
        wish = {"template_ids": list(template_ids)}
        return self._send(self._calls.change("POST", f"{person}/photos/remove", wish, idempotency_key))

    def undoable(self) -> list[UndoableRecord]:
        """List what can be taken back, newest first."""
        return self._send(self._calls.undoable())

    def thresholds(self, fpir: Sequence[float] = (), far: Sequence[float] = ()) -> list[Record]:
        """Say at which similarity somebody is accepted for these rates, else the usual ones, and on what evidence."""
        return self._send(self._calls.thresholds(fpir, far))

    def facts(self) -> Record:
        """Say what the gallery is, and what the key may do in it."""
        return self._send(self._calls.about(""))

    def model(self) -> Record:
        """Say which network the gallery is bound to, and what runs it."""
        return self._send(self._calls.about("/model"))

    def health(self) -> Record:
        """Check the gallery's files: `sound`, `problems` and counts."""
        return self._send(self._calls.about("/health"))

    def audit(self, *, after: int = 0, limit: int = 100) -> Record:
        """Return `entries` of who asked what, oldest first, and `last`, which goes into `after` of the next call."""
        return self._send(self._calls.about("/audit", after=after, limit=limit))

    def embed(self, photos: Sequence[Photo], *, faces: str = "largest") -> list[Record]:
        """Return faces with their vectors, where the server gives them away."""
        return self._send(self._calls.embed(photos, faces))

    def review(self, *, again: bool = False) -> list[Record]:
        """List what is probably wrong in the gallery; `again` looks anew."""
        return self._send(self._calls.review(again))

    def answer(self, finding: str, answer: str) -> None:
        """Mend what a finding says (`accept`), or remember that it is wrong (`reject`)."""
        return self._send(self._calls.answer(finding, answer))

    def enroll_many(
        self,
        archive: Photo | None = None,
        *,
        folder: str | None = None,
        faces: str = "exactly-one",
        idempotency_key: str | None = None,
    ) -> Job:
        """Begin to enrol a zip file with a folder a person, or a folder that the server's settings name."""
        return self._send(self._calls.begin("enroll", archive, idempotency_key, folder=folder, faces=faces))

    def calibrate(
        self, strangers: Photo | None = None, *, keep: bool = False, idempotency_key: str | None = None
    ) -> Job:
        """Begin to measure the thresholds: with a zip file of strangers' photos, else with the gallery's own people."""
        return self._send(self._calls.begin("calibrate", strangers, idempotency_key, keep=str(keep).lower()))

    def rebuild(self) -> Job:
        """Begin to make the gallery's caches anew."""
        return self._send(self._calls.begin("rebuild", None, None))

    def check(self) -> Job:
        """Begin to read every byte of the gallery's files."""
        return self._send(self._calls.begin("check", None, None))

    def jobs(self) -> list[Job]:
        """List the gallery's jobs, newest first."""
        return self._send(self._calls.jobs())

    def job(self, job: str) -> Job:
        """Say how far a job is."""
        return self._send(self._calls.job(job))

    def job_records(self, job: str) -> list[EnrollmentRecord]:
        """Tell what became of each photo of a job so far."""
        return self._send(self._calls.job_records(job))

    def cancel_job(self, job: str) -> Job:
        """Let a job end; what it did stays."""
        return self._send(self._calls.cancel_job(job))

    def _send(self, call: _Call[Result]) -> Result:
        with ExitStack() as files:
            return _read(self._http.request(**_request(call, files)), call)


class AsyncClient:
    """The calls of `Client`, each to be awaited."""

    def __init__(self, address: str, *, key: str | None = None, gallery: str = "default") -> None:
        self._http = httpx.AsyncClient(base_url=address, headers=_headers(key), timeout=_SECONDS)
        self._calls = _Calls(gallery)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def identify(
        self,
        photos: Sequence[Photo],
        *,
        fpir: float | None = None,
        threshold: float | None = None,
        top_k: int = 5,
        faces: str = "all",
    ) -> list[AnswerRecord]:
        """Say who is on each photo; the server's usual `fpir` where neither that nor `threshold` is given."""
        return await self._send(self._calls.identify(photos, fpir, threshold, top_k, faces))

    async def verify(
        self, first: Photo, second: Photo, *, far: float | None = None, threshold: float | None = None
    ) -> VerificationRecord:
        """Say whether two photos show the same person."""
        return await self._send(self._calls.verify(first, second, far, threshold))

    async def people(self, search: str | None = None, *, removed: bool = False) -> list[PersonRecord]:
        """List everybody whose name or external id has `search` in it, page after page."""
        found, cursor = await self._send(self._calls.people(search, removed, None))
        while cursor is not None:
            more, cursor = await self._send(self._calls.people(search, removed, cursor))
            found += more
        return found

    async def person(self, person: int) -> tuple[PersonRecord, list[TemplateRecord]]:
        """Return one person and the photos that were enrolled."""
        return await self._send(self._calls.person(person))

    async def enroll(
        self,
        name: str,
        photos: Sequence[Photo],
        *,
        external_id: str | None = None,
        faces: str = "exactly-one",
        idempotency_key: str | None = None,
    ) -> EnrolledPerson:
        """Enrol photos of one person."""
        return await self._send(self._calls.enroll(name, photos, external_id, faces, idempotency_key))

    async def add_photos(
        self, person: int, photos: Sequence[Photo], *, faces: str = "exactly-one", idempotency_key: str | None = None
    ) -> EnrolledPerson:
        """Enrol more photos of somebody."""
        return await self._send(self._calls.add_photos(person, photos, faces, idempotency_key))

    async def rename(self, person: int, name: str, *, idempotency_key: str | None = None) -> PersonRecord:
        """Give a person another name."""
        return await self._send(self._calls.change("PATCH", f"{person}", {"name": name}, idempotency_key))

    async def merge(self, person: int, into: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Make a person's photos those of another, who is returned."""
        return await self._send(self._calls.change("POST", f"{person}/merge", {"into": into}, idempotency_key))

    async def remove(self, person: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Hide a person from searches."""
        return await self._send(self._calls.change("POST", f"{person}/remove", None, idempotency_key))

    async def restore(self, person: int, *, idempotency_key: str | None = None) -> PersonRecord:
        """Bring a removed person back."""
        return await self._send(self._calls.change("POST", f"{person}/restore", None, idempotency_key))

    async def erase(self, person: int, *, confirm: str) -> str:
        """Destroy a person for good; `confirm` is the name. Returns `done` or `pending`."""
        return await self._send(self._calls.erase(person, confirm))

    async def undo(self, entry: int | None = None, *, idempotency_key: str | None = None) -> UndoableRecord:
        """Take the newest change back, or the one that is named."""
        return await self._send(self._calls.undo(entry, idempotency_key))

    async def remove_photos(
        self, person: int, template_ids: Sequence[int], *, idempotency_key: str | None = None
    ) -> PersonRecord:
        """Hide single photos of a person from searches."""
        wish = {"template_ids": list(template_ids)}
        return await self._send(self._calls.change("POST", f"{person}/photos/remove", wish, idempotency_key))

    async def undoable(self) -> list[UndoableRecord]:
        """List what can be taken back, newest first."""
        return await self._send(self._calls.undoable())

    async def thresholds(self, fpir: Sequence[float] = (), far: Sequence[float] = ()) -> list[Record]:
        """Say at which similarity somebody is accepted for these rates, else the usual ones, and on what evidence."""
        return await self._send(self._calls.thresholds(fpir, far))

    async def facts(self) -> Record:
        """Say what the gallery is, and what the key may do in it."""
        return await self._send(self._calls.about(""))

    async def model(self) -> Record:
        """Say which network the gallery is bound to, and what runs it."""
        return await self._send(self._calls.about("/model"))

    async def health(self) -> Record:
        """Check the gallery's files: `sound`, `problems` and counts."""
        return await self._send(self._calls.about("/health"))

    async def audit(self, *, after: int = 0, limit: int = 100) -> Record:
        """Return `entries` of who asked what, oldest first, and `last`, which goes into `after` of the next call."""
        return await self._send(self._calls.about("/audit", after=after, limit=limit))

    async def embed(self, photos: Sequence[Photo], *, faces: str = "largest") -> list[Record]:
        """Return faces with their vectors, where the server gives them away."""
        return await self._send(self._calls.embed(photos, faces))

    async def review(self, *, again: bool = False) -> list[Record]:
        """List what is probably wrong in the gallery; `again` looks anew."""
        return await self._send(self._calls.review(again))

    async def answer(self, finding: str, answer: str) -> None:
        """Mend what a finding says (`accept`), or remember that it is wrong (`reject`)."""
        return await self._send(self._calls.answer(finding, answer))

    async def enroll_many(
        self,
        archive: Photo | None = None,
        *,
        folder: str | None = None,
        faces: str = "exactly-one",
        idempotency_key: str | None = None,
    ) -> Job:
        """Begin to enrol a zip file with a folder a person, or a folder that the server's settings name."""
        return await self._send(self._calls.begin("enroll", archive, idempotency_key, folder=folder, faces=faces))

    async def calibrate(
        self, strangers: Photo | None = None, *, keep: bool = False, idempotency_key: str | None = None
    ) -> Job:
        """Begin to measure the thresholds: with a zip file of strangers' photos, else with the gallery's own people."""
        return await self._send(self._calls.begin("calibrate", strangers, idempotency_key, keep=str(keep).lower()))

    async def rebuild(self) -> Job:
        """Begin to make the gallery's caches anew."""
        return await self._send(self._calls.begin("rebuild", None, None))

    async def check(self) -> Job:
        """Begin to read every byte of the gallery's files."""
        return await self._send(self._calls.begin("check", None, None))

    async def jobs(self) -> list[Job]:
        """List the gallery's jobs, newest first."""
        return await self._send(self._calls.jobs())

    async def job(self, job: str) -> Job:
        """Say how far a job is."""
        return await self._send(self._calls.job(job))

    async def job_records(self, job: str) -> list[EnrollmentRecord]:
        """Tell what became of each photo of a job so far."""
        return await self._send(self._calls.job_records(job))

    async def cancel_job(self, job: str) -> Job:
        """Let a job end; what it did stays."""
        return await self._send(self._calls.cancel_job(job))

    async def _send(self, call: _Call[Result]) -> Result:
        with ExitStack() as files:
            return _read(await self._http.request(**_request(call, files)), call)


def _headers(key: str | None) -> dict[str, str]:
    # A key that was read from a file often ends in a line break, which no header may have.
    return {} if key is None else {"Authorization": f"Bearer {key.strip()}"}


def _several(photos: Photo | Sequence[Photo]) -> Sequence[Photo]:
    """Return one photo as a list, as the engine takes it; a path is no list of letters."""
    return [photos] if isinstance(photos, str | os.PathLike | bytes) else photos


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _job(said: Any) -> Job:
    return Job(**said["job"])


def _enrolled(said: Any) -> EnrolledPerson:
    return EnrolledPerson(said["person"], said["photos"])


def _request(call: _Call[Any], files: ExitStack) -> dict[str, Any]:
    """Return httpx's arguments; the photos that are files stay open until `files` ends."""
    headers = {} if call.idempotency_key is None else {"Idempotency-Key": call.idempotency_key}
    parts = [(name, _part(photo, number, files)) for number, (name, photo) in enumerate(call.files, start=1)]
    return {
        "method": call.method,
        "url": call.path,
        "json": call.json,
        "data": call.data,
        "params": call.params,
        "files": parts or None,
        "headers": headers,
    }


def _part(photo: Photo, number: int, files: ExitStack) -> tuple[str, Any]:
    if isinstance(photo, bytes):
        return f"photo {number}", photo
    path = Path(photo)
    return printable(path.name), files.enter_context(path.open("rb"))


def _read(response: httpx.Response, call: _Call[Result]) -> Result:
    try:
        said = response.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):  # a proxy in between has its own words, a page to log in at, say
        said = {"detail": response.text[:200]}
    elif response.is_success:
        try:
            return call.result(said)
        except (KeyError, TypeError):
            said = {"detail": response.text[:200]}
    wait = response.headers.get("retry-after", "")
    raise ServiceProblem(response.status_code, said, float(wait) if wait.isdecimal() else None)
