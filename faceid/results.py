"""What the engine answers, and how it becomes the records that programs read (docs/records.md)."""

from dataclasses import dataclass, field
from typing import Any

from faceid.records import (
    SCHEMA_VERSION,
    AnswerRecord,
    CandidateRecord,
    Decision,
    EnrollmentRecord,
    EnrollmentStatus,
    MorphRecord,
    ThresholdSource,
    VerificationRecord,
    Who,
)
from faceid.vision.detection import Box, Landmarks
from faceid.vision.picture import Picture
from indexer.decision.decision import Threshold
from indexer.decision.match_probability import EVEN_ODDS
from indexer.decision.morph import Decision as MorphDecision
from indexer.decision.morph import MorphThreshold
from indexer.records import Candidate, FloatVector

Record = dict[str, Any]


@dataclass(frozen=True)
class Enrollment:
    """What became of one photo offered for enrolment; `message` says it in words where it went wrong."""

    source: str
    name: str
    status: EnrollmentStatus
    reason_codes: tuple[str, ...] = ()
    template_id: int | None = None
    message: str | None = None
    external_id: str | None = None

    @property
    def label(self) -> str:
        """What people read: the name, with the external id where the person has one."""
        return f"{self.name} ({self.external_id})" if self.external_id else self.name

    def record(self) -> EnrollmentRecord:
        """Return the record of `faceid enroll --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "name": self.name,
            "external_id": self.external_id,
            "status": self.status,
            "reason_codes": list(self.reason_codes),
            "template_id": self.template_id,
        }


@dataclass(frozen=True)
class Answer:
    """The answer for one face of one photo, or for a photo without a usable face.

    `similarity` is the best candidate's, in [-1, 1], whatever the decision; `box` (x, y, w, h) and `landmarks` (x, y of
    left eye, right eye, nose, left and right mouth corner, left as seen) are in pixels of the upright photo; `quality`
    is in [0, 1]; `vector` [D] float32 of unit length is there where it was asked for. `exact_decision` and
    `exact_candidates` say what is proved about the search (`indexer.records.SearchResult`); None where nobody was
    searched for. `probability` that the best candidate is the person, 0..1, if enrolled people and strangers come as
    often; None where it was not calibrated. `photos` are those that were decided on together. Where the threshold is on
    context, `adjusted` is what is held against it: the similarity less a share of `context`, the mean of the next ten.
    """

    picture: Picture
    decision: Decision
    model: str
    gallery_revision: int
    threshold: Threshold
    face_index: int | None = None
    box: Box | None = None
    landmarks: Landmarks | None = None
    detection_score: float | None = None
    quality: float | None = None
    candidates: tuple[Candidate, ...] = ()
    reason_codes: tuple[str, ...] = ()
    message: str | None = None
    exact_decision: bool | None = None
    exact_candidates: bool | None = None
    probability: float | None = None
    vector: FloatVector | None = field(default=None, compare=False, repr=False)
    photos: int = 1
    context: float | None = None
    adjusted: float | None = None

    @property
    def source(self) -> str:
        """What names the photo: its path as text, where it is a file."""
        return self.picture.source

    @property
    def identity(self) -> Candidate | None:
        """The identity found; None unless the decision is `identified`."""
        return self.candidates[0] if self.decision == "identified" else None

    @property
    def similarity(self) -> float | None:
        """The best candidate's similarity; None without candidates."""
        return self.candidates[0].similarity if self.candidates else None

    def record(self) -> AnswerRecord:
        """Return the record of `faceid identify --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "face_index": self.face_index,
            "box": None if self.box is None else [round(side, 2) for side in self.box],
            "landmarks": None if self.landmarks is None else [[round(x, 2), round(y, 2)] for x, y in self.landmarks],
            "detection_score": rounded(self.detection_score),
            "quality": rounded(self.quality),
            "decision": self.decision,
            "identity": who_record(self.identity) if self.identity else None,
            "similarity": rounded(self.similarity),
            "threshold": rounded(self.threshold.value),
            "threshold_source": threshold_source(self.threshold),
            "candidates": [candidate_record(candidate) for candidate in self.candidates],
            "reason_codes": list(self.reason_codes),
            "model": self.model,
            "gallery_revision": self.gallery_revision,
            "exact_decision": self.exact_decision,
            "exact_candidates": self.exact_candidates,
            "probability": None if self.probability is None else round(self.probability, 4),
            "prior": None if self.probability is None else EVEN_ODDS,
            "photos": self.photos,
            "context": rounded(self.context),
            "adjusted": rounded(self.adjusted),
        }


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person; `same` and `similarity` are None when a photo has no usable face.

    Where the first is a document's photo, `decision` tells a possible morph apart, which `same` does not accept.
    """

    similarity: float | None
    same: bool | None
    threshold: Threshold
    reason_codes: tuple[str, ...] = ()
    message: str | None = None
    decision: MorphDecision | None = None
    morph: MorphThreshold | None = None

    def record(self) -> VerificationRecord:
        """Return the record of `faceid verify --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "similarity": rounded(self.similarity),
            "same": self.same,
            "decision": self.decision,
            "morph": None if self.morph is None else morph_record(self.morph),
            "threshold": rounded(self.threshold.value),
            "threshold_source": threshold_source(self.threshold),
            "reason_codes": list(self.reason_codes),
        }


def morph_record(morph: MorphThreshold) -> MorphRecord:
    """Return the threshold against morphs as records tell it."""
    return {
        "threshold": round(morph.value, 6),
        "target": morph.target,
        "basis": morph.basis,
        "estimated": rounded(morph.estimated),
        "bound": rounded(morph.bound),
        "bscer": rounded(morph.bscer),
        "people": morph.people,
        "data": morph.data,
    }


def threshold_source(threshold: Threshold) -> ThresholdSource:
    """Return where a threshold comes from: who set it, for which rate, measured on how many trials, and when."""
    return {
        "kind": threshold.kind,
        "target": threshold.target,
        "value": rounded(threshold.target_value),
        "measured": threshold.measured,
        "trials": threshold.trials,
        "ci95": None if threshold.ci95 is None else list(threshold.ci95),
        "date": threshold.date,
        "data": threshold.data,
        "n": threshold.gallery_size,
        "way": threshold.way,
        "on": threshold.on,
    }


def who_record(candidate: Candidate) -> Who:
    """Return a person as records name them."""
    return {
        "id": candidate.id,
        "name": candidate.name,
        "external_id": candidate.external_id,
        "label": candidate.label,
    }


def candidate_record(candidate: Candidate) -> CandidateRecord:
    """Return a candidate as records have it."""
    return {**who_record(candidate), "similarity": rounded(candidate.similarity), "rank": candidate.rank}


def rounded(value: float | None) -> float | None:
    """Round to what a float32 holds, so that 0.1 is not printed as 0.10000000149."""
    return None if value is None else float(f"{value:.7g}")
