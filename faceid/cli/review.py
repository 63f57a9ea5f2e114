"""`faceid gallery review`.  In Python: `faceid.gallery_review.review_gallery`, `apply_answers`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceid.cli.options import NAME, OUTPUT_FILE, RATE, gallery_option, output_option
from faceid.cli.output import say, write_records
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from faceid.gallery_review import Answered, Suggestion
    from indexer.gallery import Gallery
    from indexer.hygiene.review import FindingKind

# indexer.hygiene.review.KINDS; a test holds the two together, so that `--help` loads no numbers.
KINDS: "Sequence[FindingKind]" = ("duplicate", "mislabelled", "stranger", "disagree", "broken", "same_photo")
# The names of the records, which a CSV without any has, too.
_FINDING = ("finding", "kind", "probability", "reason", "people", "templates", "evidence", "command")
_ANSWERED = ("finding", "answer", "status", "why")


@click.command(epilog="Example: faceid gallery review --gallery staff --page review.html")
@gallery_option
@click.option("--kinds", help=f"What to look for, with commas between: {', '.join(KINDS)}.", show_default="all")
@click.option("--fdr", type=RATE, default=0.05, show_default=True, help="Share of each kind's findings that is wrong.")
@click.option("--page", type=OUTPUT_FILE, help="Also write an HTML page with the faces.")
@click.option(
    "--not-duplicates",
    "apart",
    nargs=2,
    type=NAME,
    multiple=True,
    metavar="A B",
    help="Remember that PERSON A and PERSON B are two people, and look for nothing.",
)
@click.option(
    "--apply",
    "answers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Do what the answers in a file say (the page saves one), and look for nothing.",
)
@output_option
@click.pass_context
def review(
    ctx: click.Context,
    gallery_path: Place,
    kinds: str | None,
    fdr: float,
    page: Path | None,
    apart: tuple[tuple[str, str], ...],
    answers: Path | None,
    output: str | None,
) -> None:
    """Find what is probably wrong: people enrolled twice, wrong labels, broken crops, one photo twice.

    Each finding comes with its probability, the reason, and the command that mends it. Nothing is changed.
    """
    wanted = _kinds(kinds)
    from faceid.gallery_review import apply_answers, read_answers, review_gallery
    from faceid.models.model_zoo import find_model
    from indexer.gallery import Gallery

    if apart or answers:
        if page:
            raise click.UsageError("--page goes with looking, not with answers")
        with Gallery.open(gallery_path, writable=True) as opened:
            _keep_apart(opened, apart)
            done = list(apply_answers(opened, read_answers(answers))) if answers else []
        write_records(done, output, _answered, _answered, columns=_ANSWERED)
        ctx.exit(3 if any(one.status == "failed" for one in done) else 0)
    with Gallery.open(gallery_path) as opened:
        found, refused = review_gallery(find_model(opened.model.name), opened, fdr=fdr, kinds=wanted)
        write_records(found, output, lambda one: one.record(), _row, columns=_FINDING)
        for kind, reason in refused.items():
            say(f"{kind}: not looked for; {reason}")
        say(f"{counted(len(found), 'finding', 'findings')}; about {fdr:g} of them are expected to be wrong.")
        if page:
            _write_page(found, page, opened, fdr)


def _kinds(text: str | None) -> "Sequence[FindingKind]":
    asked = KINDS if text is None else [kind for kind in KINDS if kind in text.split(",")]
    if text is not None and len(asked) != len(set(text.split(","))):
        raise click.BadParameter(f"{text!r}: choose from {', '.join(KINDS)}", param_hint="--kinds")
    return asked


def _keep_apart(opened: "Gallery", apart: tuple[tuple[str, str], ...]) -> None:
    from faceid.cli.people import one_person
    from faceid.gallery_review import not_duplicates

    for first, second in apart:
        one, other = one_person(opened, first), one_person(opened, second)
        not_duplicates(opened, one.id, other.id)
        say(f"{one.name} (id {one.id}) and {other.name} (id {other.id}) are two people; that is not asked again.")


def _write_page(found: "Sequence[Suggestion]", page: Path, opened: "Gallery", fdr: float) -> None:
    from faceid.review_page import write_review_page

    try:
        say(f"page: {write_review_page(found, page, gallery=opened, fdr=fdr).absolute()}")
    except ModuleNotFoundError as error:
        raise click.ClickException(f"the page needs {error.name}; pip install 'faceid-engine[report]'") from error


def _row(one: "Suggestion") -> dict[str, object]:
    return {"probability": one.finding.probability, "what": one.reason, "to mend it": one.command}


def _answered(one: "Answered") -> dict[str, object]:
    return {"finding": one.finding, "answer": one.answer, "status": one.status, "why": one.message}
