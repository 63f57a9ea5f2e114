"""A gallery's review with its model: what is probably wrong, why, and the command that mends it.

The search for faults is `indexer.hygiene`; here are the examples that vectors alone cannot give, the words, and what an
answer does.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from faceid.model_binding import require_same_model
from faceid.models import model_zoo
from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.models.review_crops import broken_crops, with_copies
from faceid.models.trial_crops import trial_crops
from faceid.results import Record
from indexer.errors import FaceIdError, GalleryError
from indexer.gallery import Gallery
from indexer.hygiene.review import KINDS, Examples, Finding, FindingKind, review
from indexer.records import Identity, TemplateRow
from indexer.search.scores import canonical_scores
from indexer.text import printable

_REASONS: dict[FindingKind, str] = {
    "duplicate": "{0} and {1} look like one person: their means score {similarity:.3f}",
    "mislabelled": "this photo of {0} looks like {1}: {similarity_to_other:.3f} against {similarity_to_own:.3f}",
    "stranger": "this photo scores {similarity_to_own:.3f} against the others of {0}, and nobody else is near",
    "disagree": "the two photos of {0} score {similarity:.3f}: one of them is somebody else's",
    "broken": "this photo of {0} scores {similarity_to_broken:.3f} against crops that show no face",
    "same_photo": "these photos of {0} score {similarity:.3f}: one photo, twice",
}

_COMMANDS: dict[FindingKind, str] = {
    "duplicate": "faceid gallery merge {people[1]} {people[0]}",
    "mislabelled": "faceid gallery move {templates[0]} {people[1]}",
    "stranger": "faceid gallery remove-template {templates[0]}",
    "disagree": "faceid gallery show {people[0]}",
    "broken": "faceid gallery remove-template {templates[0]}",
    "same_photo": "faceid gallery remove-template {templates[1]}",
}

Answer = str  # "accept", "reject" or "later"


@dataclass(frozen=True)
class Suggestion:
    """A finding with the people and templates it is about, the reason in words, and the command that mends it."""

    finding: Finding
    people: tuple[Identity, ...]
    templates: tuple[TemplateRow, ...]
    reason: str
    command: str

    def record(self) -> Record:
        """Return what `faceid gallery review --json` writes."""
        return {
            "finding": self.finding.key,
            "kind": self.finding.kind,
            "probability": round(self.finding.probability, 6),
            "reason": self.reason,
            "people": [{"id": one.id, "name": one.name, "external_id": one.external_id} for one in self.people],
            "templates": [{"id": one.id, "source": one.source, "box": one.box} for one in self.templates],
            "evidence": {name: round(value, 6) for name, value in self.finding.evidence.items()},
            "command": self.command,
        }


class AnswersError(FaceIdError):
    """A file of answers to findings that cannot be read."""

    exit_code = 2


@dataclass(frozen=True)
class Answered:
    """What became of the answer to one finding: `done`, or `failed` and why."""

    finding: str
    answer: Answer
    status: str
    message: str = ""


def review_examples(model: Model) -> Examples:
    """Embed drawn crops with a model, and look up what photos of one person score with it."""
    embedder = Embedder(model)
    height, width = embedder.spec.input_size
    crops = broken_crops(height, width)
    faces, copies = with_copies(trial_crops(height, width))
    cohort = model_zoo.load_cohort(model)
    return Examples(
        embedder.embed(crops.reshape(-1, height, width, 3)).reshape(*crops.shape[:2], -1),
        canonical_scores(embedder.embed(faces), embedder.embed(copies)),
        {} if cohort is None else cohort.own_scores,
    )


def review_gallery(
    model: Model, gallery: Gallery, *, fdr: float = 0.05, kinds: Collection[FindingKind] = KINDS
) -> tuple[list[Suggestion], dict[str, str]]:
    """Return what is probably wrong in a gallery of this model, and the kinds that could not be looked for and why.

    Of each kind a share of at most `fdr`, 0..1, is expected to be wrong. What was answered with `reject` before is left
    out. Raises ValueError for an fdr out of range, ModelMismatch for another model than the gallery's.
    """
    if not 0 < fdr < 1:
        raise ValueError(f"the share of wrong suggestions lies between 0 and 1, not {fdr}")
    require_same_model(model, gallery)
    found = review(
        gallery.embeddings(), review_examples(model), fdr=fdr, kinds=kinds, rejected=gallery.rejected_findings()
    )
    return standing(gallery, found.findings), found.refused  # others may have mended some of it meanwhile


def standing(gallery: Gallery, findings: Sequence[Finding]) -> list[Suggestion]:
    """Return what is left of a review's findings: people and photos are there as they were, and nobody said no."""
    if not findings:
        return []
    people = {one.id: one for one in gallery.identities()}
    wanted = {template_id for one in findings for template_id in one.template_ids}
    rows = {row.id: row for row in gallery.templates() if row.id in wanted}
    whose = {number: row.identity_id for number, row in rows.items()}
    rejected = gallery.rejected_findings()
    return [
        _suggestion(one, people, rows)
        for one in findings
        if one.key not in rejected
        and people.keys() >= set(one.identity_ids)
        and all(whose.get(template_id) in one.identity_ids for template_id in one.template_ids)
        and not (one.kind == "mislabelled" and whose[one.template_ids[0]] == one.identity_ids[1])
    ]


def not_duplicates(gallery: Gallery, first: int, second: int) -> None:
    """Remember that two people are two. Raises GalleryError for one, under two names."""
    if first == second:
        raise GalleryError(
            f"both names lead to the person with the id {first}; `faceid gallery undo --list` shows what can be taken"
            " back"
        )
    low, high = sorted((first, second))
    gallery.reject_findings([f"duplicate:{low}-{high}"])


def read_answers(file: Path) -> list[tuple[str, Answer]]:
    """Read answers to findings, JSON Lines of `{"finding": KEY, "answer": "accept" | "reject" | "later"}`.

    Raises AnswersError, which names the line.
    """
    answers: list[tuple[str, Answer]] = []
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # a path may hold other ends of lines
    except (OSError, ValueError) as error:
        raise AnswersError(f"{printable(file)}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, answer = row["finding"], row["answer"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AnswersError(f"{printable(file)}, line {number}: not an answer to a finding ({error})") from error
        if not isinstance(key, str) or answer not in ("accept", "reject", "later"):
            raise AnswersError(f"{printable(file)}, line {number}: the answer is accept, reject or later")
        answers.append((key, answer))
    return answers


def apply_answers(gallery: Gallery, answers: Sequence[tuple[str, Answer]]) -> Iterator[Answered]:
    """Do what the answers say, one after the other: mend, remember that a finding is wrong, or ask again.

    What cannot be done (the person was merged, the photo moved since) is said, and the rest goes on. Every change can
    be undone.
    """
    for key, answer in answers:
        try:
            if answer == "accept":
                _mend(gallery, key)
            elif answer == "reject":
                gallery.reject_findings([key])
            else:
                gallery.ask_again([key])
        except GalleryError as error:
            yield Answered(key, answer, "failed", str(error))
        else:
            yield Answered(key, answer, "done")


def _mend(gallery: Gallery, key: str) -> None:
    kind, _, numbers = key.partition(":")
    try:
        ids = [int(number) for number in numbers.split("-")]
        if kind == "duplicate":
            into, source = ids
            now = _by_now(gallery, source), _by_now(gallery, into)
            gallery.merge(*((source, into) if now[0] == now[1] else now))
        elif kind == "mislabelled":
            template, person = ids
            gallery.move_templates([template], _by_now(gallery, person))
        elif kind in ("stranger", "broken", "same_photo"):
            gallery.remove_templates(ids[-1:])
        else:
            raise GalleryError(f"{key}: look at the photos, and move or remove one of them yourself")
    except ValueError as error:
        raise GalleryError(f"{key!r:.80} is no finding of a review, such as duplicate:3-17") from error


def _by_now(gallery: Gallery, identity_id: int) -> int:
    """Return whom an id means after the answers before: somebody enrolled three times is merged in two steps."""
    return next((one.id for one in gallery.find(identity_id)), identity_id)


def _suggestion(finding: Finding, people: Mapping[int, Identity], rows: Mapping[int, TemplateRow]) -> Suggestion:
    whose = tuple(people[identity_id] for identity_id in finding.identity_ids)
    names = [f"{one.name} (id {one.id})" for one in whose]
    return Suggestion(
        finding,
        whose,
        tuple(rows[template_id] for template_id in finding.template_ids),
        _REASONS[finding.kind].format(*names, **finding.evidence),
        _COMMANDS[finding.kind].format(people=finding.identity_ids, templates=finding.template_ids),
    )
