"""The records that programs read, as types: one model for the command line and the service (docs/records.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, cast

# The service describes its answers by these types, and pydantic takes the TypedDict of typing_extensions alone.
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from indexer.records import Identity, TemplateRow
    from indexer.store.undo import Undoable

# Raised whenever a name in docs/records.md changes its meaning.
SCHEMA_VERSION = 1

EnrollmentStatus = Literal["enrolled", "already_enrolled", "rejected", "failed", "photo_gone", "pruned"]
JobKind = Literal["enroll", "calibrate", "rebuild", "check"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Decision = Literal["identified", "unknown", "no_face", "rejected_quality", "error"]


class ThresholdSource(TypedDict):
    """Where a threshold comes from: who set it, for which rate, measured on how many trials, and when."""

    kind: Literal["gallery", "model", "user"]
    target: Literal["fpir", "far"] | None
    value: float | None
    measured: bool
    trials: int | None
    ci95: list[float] | None
    date: str | None
    data: str | None
    n: int | None
    way: Literal["cohort", "strangers", "carried", "gallery", "table"] | None
    on: Literal["similarity", "context"]


class Who(TypedDict):
    """A person of the gallery; `label` tells namesakes apart."""

    id: int
    name: str
    external_id: str | None
    label: str


class CandidateRecord(Who):
    """Somebody whom a face may show, with the canonical similarity; rank 1 is the best."""

    similarity: float | None
    rank: int


class AnswerRecord(TypedDict):
    """One face of one photo, or a photo without a usable face."""

    schema_version: int
    source: str
    face_index: int | None
    box: list[float] | None
    landmarks: list[list[float]] | None
    detection_score: float | None
    quality: float | None
    decision: Decision
    identity: Who | None
    similarity: float | None
    threshold: float | None
    threshold_source: ThresholdSource
    candidates: list[CandidateRecord]
    reason_codes: list[str]
    model: str
    gallery_revision: int
    exact_decision: bool | None
    exact_candidates: bool | None
    probability: float | None
    prior: float | None
    photos: int
    context: float | None
    adjusted: float | None


class EnrollmentRecord(TypedDict):
    """What became of one photo that was offered for enrolment."""

    schema_version: int
    source: str
    name: str
    external_id: str | None
    status: EnrollmentStatus
    reason_codes: list[str]
    template_id: int | None


class MorphRecord(TypedDict):
    """The threshold against morphs, and what is known of the morphs that pass it; see `--document`."""

    threshold: float
    target: float
    basis: Literal["documents", "far"]
    estimated: float | None
    bound: float | None
    bscer: float | None
    people: int | None
    data: str


class VerificationRecord(TypedDict):
    """Whether two photos show the same person; `same` is null where a photo has no usable face.

    `decision` and `morph` are null unless one of the photos is a document's.
    """

    schema_version: int
    similarity: float | None
    same: bool | None
    decision: Literal["same", "different", "possible_morph"] | None
    morph: MorphRecord | None
    threshold: float | None
    threshold_source: ThresholdSource
    reason_codes: list[str]


class PersonRecord(TypedDict):
    """One person of the gallery; `templates` counts the active ones."""

    schema_version: int
    id: int
    name: str
    external_id: str | None
    templates: int
    removed: bool
    created_at: str


class TemplateRecord(TypedDict):
    """One enrolled photo of a person, without its vector; `removed_singly` if it was hidden itself, not the person."""

    schema_version: int
    id: int
    identity_id: int
    name: str
    external_id: str | None
    source: str
    source_digest: str
    box: list[float] | None
    detection_score: float | None
    quality: float | None
    precision: str
    created_at: str
    removed: bool
    removed_singly: bool


class UndoableRecord(TypedDict):
    """A change that can be taken back."""

    schema_version: int
    id: int
    at: str
    action: str
    identity_ids: list[int]


@dataclass(frozen=True)
class Job:
    """A job as it stands: `done` of `total` photos (null: not known); `counts` by status; times in ISO 8601, UTC."""

    id: str
    gallery: str
    kind: JobKind
    state: JobState
    done: int
    total: int | None
    counts: dict[str, int]
    message: str | None
    starts: int
    created_at: str
    started_at: str | None
    ended_at: str | None


def person_record(identity: Identity) -> PersonRecord:
    """Return the record of `faceid gallery list --json`."""
    return cast(PersonRecord, {"schema_version": SCHEMA_VERSION, **asdict(identity)})


def template_record(template: TemplateRow) -> TemplateRecord:
    """Return the record of `faceid gallery show --json`."""
    facts = {**asdict(template), "source_digest": template.source_digest.hex()}
    return cast(TemplateRecord, {"schema_version": SCHEMA_VERSION, **facts})


def undoable_record(entry: Undoable) -> UndoableRecord:
    """Return the record of `faceid gallery undo --list --json`."""
    facts = {**asdict(entry), "identity_ids": list(entry.identity_ids)}
    return cast(UndoableRecord, {"schema_version": SCHEMA_VERSION, **facts})
