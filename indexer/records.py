"""What goes into a gallery and what comes out of it: small frozen records, and the rule for names."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexer.decided_on import DecidedOn
from indexer.errors import InvalidName
from indexer.fusion import Fusion

FloatVector = NDArray[np.float32]
FloatMatrix = NDArray[np.float32]
Ids = NDArray[np.int64]

MAX_NAME_BYTES = 255  # one path component on every common file system
_JOINERS = "\u200c\u200d"  # invisible, and yet part of how some words are written
_AMBIGUOUS = re.compile("[()#]")  # in an external id, as part of a label
# What shows nothing although it counts as a letter, mark or symbol: Unicode's Default_Ignorable_Code_Point beyond its
# format characters (DerivedCoreProperties.txt), and the empty pattern of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True)
class ModelBinding:
    """The model that a gallery is bound to: its name, the hex SHA-256 of its file, the length of its vectors."""

    name: str
    digest: str
    dimension: int


@dataclass(frozen=True)
class Turn:
    """What a gallery of turned vectors says about their rotation: which key it follows from, and a salt of 16 bytes."""

    key_id: str
    salt: bytes


@dataclass(frozen=True, eq=False)
class NewTemplate:
    """One face to enrol: vector [D] float32 of unit length, and the photo it came from.

    `source_digest` is the SHA-256 of the photo's bytes (32 bytes), `box` (x, y, width, height) in pixels of the
    photo, `precision` what the network computed in ('float32' or 'bfloat16'). `crop` is a JPEG of the face to keep.
    """

    name: str
    external_id: str | None
    vector: FloatVector
    source: str
    source_digest: bytes
    box: tuple[float, float, float, float] | None
    detection_score: float | None
    quality: float | None
    precision: str
    crop: bytes | None = None


@dataclass(frozen=True)
class Added:
    """What became of one NewTemplate.

    Reason codes: `removed` (the person or the photo was removed and stays so without restore), `restored`,
    `enrolled_as_someone_else` (this very photo is enrolled under another identity), `invalid_name`, `erased` (an import
    would bring back a photo of somebody who was erased here). `name`: the person's, as the gallery keeps it; another
    one than was given where an external id or a former name led there.
    """

    status: Literal["enrolled", "already_enrolled", "rejected"]
    template_id: int | None
    identity_id: int | None
    reason_codes: tuple[str, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class MergedPerson:
    """What became of one person of another gallery: whose id it is here (None: nobody), and its templates by outcome.

    `conflicts` counts the rejected templates by reason code (see `Added`).
    """

    name: str
    external_id: str | None
    identity_id: int | None
    enrolled: int
    already_enrolled: int
    conflicts: dict[str, int]


@dataclass(frozen=True)
class Enrolled:
    """A template that a photo already has; `removed` if it, or its identity, is hidden from searches.

    `source` is where the photo was when it was enrolled, or last seen.
    """

    template_id: int
    identity_id: int
    name: str
    external_id: str | None
    removed: bool
    source: str


@dataclass(frozen=True)
class Candidate:
    """One identity in the answer to a search: `similarity` is the canonical score, `rank` counts from 1.

    `namesakes`: somebody else in the gallery bears the same name, so that the name alone does not say who it is.
    """

    id: int
    name: str
    similarity: float
    rank: int
    external_id: str | None = None
    namesakes: bool = False

    @property
    def label(self) -> str:
        """What people read: the name, with the external id (or else the id) where others bear it too.

        No two people of a gallery have the same one: a name that itself ends as such a label does gets its id, and an
        external id that could be read as another's end does not stand in one.
        """
        if not self.namesakes and not self.name.endswith(")"):
            return self.name
        plain = self.external_id is not None and not _AMBIGUOUS.search(self.external_id)
        return f"{self.name} ({self.external_id if plain else f'#{self.id}'})"


@dataclass(frozen=True)
class SearchResult:
    """The answer to one search: candidates, best first, and what is proved about everybody else.

    `exact_decision`: nobody else can displace the best or reach the threshold that the search was told.
    `exact_candidates`: the candidates are those that scoring every template would give. Both are always true unless
    the search was `fast`. `revision`: the gallery's revision that was searched.
    """

    candidates: tuple[Candidate, ...]
    exact_decision: bool
    exact_candidates: bool
    revision: int


@dataclass(frozen=True)
class Identity:
    """One person: `templates` counts the active ones, `created_at` is ISO 8601 in UTC."""

    id: int
    name: str
    external_id: str | None
    templates: int
    removed: bool
    created_at: str


@dataclass(frozen=True)
class TemplateRow:
    """One template with its source, without its vector; `removed` if it, or its identity, is hidden.

    `removed_singly` if it was hidden itself, whatever became of the person.
    """

    id: int
    identity_id: int
    name: str
    external_id: str | None
    source: str
    source_digest: bytes
    box: tuple[float, float, float, float] | None
    detection_score: float | None
    quality: float | None
    precision: str
    created_at: str
    removed: bool
    removed_singly: bool = False


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The active templates in order of id: template_ids int64 [n], identity_ids int64 [n], vectors float32 [n, D]."""

    template_ids: Ids
    identity_ids: Ids
    vectors: FloatMatrix


@dataclass(frozen=True, eq=False)
class Contents:
    """What is searched: the hex SHA-256 of template ids and owners, `templates`, and how many each person has.

    `templates_of` int64 [N], ascending.
    """

    digest: str
    templates: int
    templates_of: Ids


@dataclass(frozen=True, eq=False)
class KeptStrangers:
    """Faces of people who are not enrolled, kept to measure with: unit vectors float32 [n, D] of `persons` int64 [n].

    `key` is the hex SHA-256 of the vectors; there may be none.
    """

    vectors: FloatMatrix
    persons: Ids
    key: str


@dataclass(frozen=True)
class Problem:
    """Something `check` found: a snake_case kind, a sentence for the user, and whether `rebuild` mends it."""

    kind: str
    text: str
    rebuild_mends: bool = False


@dataclass(frozen=True)
class Stats:
    """Counts of a gallery; sizes in bytes; `templates_per_identity` is the mean over the active identities.

    `erase_pending`: bytes of somebody who was erased are still in the files, until the next writer without readers.
    `turned_by`: the id of the key that turns the vectors; None where they lie as the model gave them.
    `outside_indexes`: the addresses of engines elsewhere that hold the vectors too.
    """

    identities: int
    removed_identities: int
    templates: int
    removed_templates: int
    templates_per_identity: float
    max_templates_per_identity: int
    precisions: dict[str, int]
    calibrations: int
    database_bytes: int
    cache_bytes: int
    revision: int
    fusion: Fusion
    decided_on: DecidedOn
    model: ModelBinding
    erase_pending: bool
    turned_by: str | None
    outside_indexes: tuple[str, ...]


def clean_name(name: str) -> str:
    """Return the name as the gallery keeps it, so that two names that look alike are one.

    Unicode NFC; no blanks at the ends, one between words; no invisible characters and none that turn the direction of
    writing; 1..255 bytes of UTF-8. Raises InvalidName for control characters. Also used for external ids.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise InvalidName(f"the name {name!r} holds a control character or a broken one; rename it")
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", name))
    visible = "".join(
        character
        for before, character, after in zip(" " + composed, composed, composed[1:] + " ", strict=False)
        if unicodedata.category(character) != "Cf" or (character in _JOINERS and _joins(before, after))
    )
    normalised = unicodedata.normalize("NFC", " ".join(visible.split()))
    size = len(normalised.encode())
    if not normalised or size > MAX_NAME_BYTES:
        raise InvalidName(
            f"the name {name[:80]!r} has {size} bytes of UTF-8; it must be 1 to {MAX_NAME_BYTES} and not blank"
        )
    return normalised


def _joins(before: str, after: str) -> bool:
    """Whether a joiner between these is part of how the word is written: in Arabic, Indic scripts and emoji."""
    joinable = unicodedata.bidirectional(before) == "AL" or unicodedata.category(before) in ("Mn", "Mc", "So", "Sk")
    return joinable and unicodedata.category(after)[0] in "LMS"
