"""What moves from gallery to gallery, and the door it passes: as strict as the one that a photo's result passes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from indexer.decided_on import DECIDED_ON, DecidedOn
from indexer.errors import FaceIdError, GalleryError
from indexer.fusion import FUSIONS, Fusion
from indexer.records import FloatMatrix, ModelBinding, NewTemplate, Turn, clean_name
from indexer.store.adding import check_templates

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Template:
    """One template without its vector: whose it is (a place in the list of people) and what its row says."""

    person: int
    source: str
    source_digest: bytes
    numbers: tuple[float | None, ...]
    precision: str
    removed: bool
    crop: bytes | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """What moves: people as JSON records, their templates in order of person, vectors float32 [n, D].

    `turn` says how these are turned, where they are; `fusion` and `decided_on` how the gallery that it is of decides,
    None where that was not noted.
    """

    model: ModelBinding
    people: list[dict[str, Any]]
    templates: list[Template]
    vectors: FloatMatrix
    turn: Turn | None = None
    fusion: Fusion | None = None
    decided_on: DecidedOn | None = None


def check_content(content: Content, origin: str) -> None:
    """Raise GalleryError, naming the origin, unless everything is what a gallery could have written."""
    try:
        _check_model(content.model)
        _demand(content.fusion in (*FUSIONS, None), "its fusion is none that there is")
        _demand(content.decided_on in (*DECIDED_ON, None), "it is decided on nothing that there is")
        _demand(isinstance(content.people, list), "its list of people is none")
        for record in content.people:
            _check_person(record)
        _check_templates(content)
    except FaceIdError as error:
        raise GalleryError(f"{origin} is no readable export of a gallery: {error}; nothing was imported") from error


def new_template(content: Content, place: int) -> NewTemplate:
    """Return the template at a place of the content's list, as it is to be enrolled."""
    one = content.templates[place]
    record = content.people[one.person]
    x, y, width, height, score, quality = one.numbers
    box = None if x is None or y is None or width is None or height is None else (x, y, width, height)
    return NewTemplate(
        record["name"],
        record["external_id"],
        content.vectors[place],
        one.source,
        one.source_digest,
        box,
        score,
        quality,
        one.precision,
        one.crop,
    )


def _check_model(model: ModelBinding) -> None:
    _demand(isinstance(model.name, str) and 0 < len(model.name) <= 255, "its model has no name")
    _demand(isinstance(model.digest, str) and _DIGEST.fullmatch(model.digest) is not None, "its model has no SHA-256")
    _demand(type(model.dimension) is int and 1 <= model.dimension <= 65_536, "its vectors have no length")


def _check_person(record: Any) -> None:
    _check_keys(record, ("name", "external_id", "removed", "aliases"))
    _demand(type(record["removed"]) is bool, "whether a person is removed is not said")
    _demand(isinstance(record["aliases"], list), "a person's aliases are no list")
    for alias in record["aliases"]:
        _check_keys(alias, ("name", "external_id"))


def _check_keys(record: Any, fields: Sequence[str]) -> None:
    _demand(isinstance(record, dict) and set(record) == set(fields), "a person is no record of a name and the like")
    for text in (record["name"], record["external_id"]):
        _demand(isinstance(text, str) or text is None, f"a name is no text but {text!r:.40}")
    _demand(record["name"] is not None, "a person has no name")
    for text in (record["name"], record["external_id"]):
        if text is not None:
            clean_name(text)


def _check_templates(content: Content) -> None:
    _demand(
        content.vectors.shape == (len(content.templates), content.model.dimension),
        f"its vectors are {list(content.vectors.shape)}, not {[len(content.templates), content.model.dimension]}",
    )
    last = 0
    for number, one in enumerate(content.templates):
        what = f"template {number + 1}"
        _demand(type(one.person) is int and 0 <= one.person < len(content.people), f"{what} is nobody's of its people")
        _demand(one.person >= last, f"{what} is out of order")
        _demand(type(one.removed) is bool, f"{what} does not say whether it is removed")
        sides = [side is None for side in one.numbers[:4]]
        _demand(all(sides) or not any(sides), f"{what} has half a box")
        last = one.person
    check_templates([new_template(content, place) for place in range(len(content.templates))], content.model)


def _demand(condition: bool, text: str) -> None:
    if not condition:
        raise GalleryError(text)
