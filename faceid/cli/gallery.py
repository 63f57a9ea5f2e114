"""`faceid gallery ...`: look after a gallery.  In Python: the methods of `Gallery` of the same names."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from faceid.cli import offers
from faceid.cli.gallery_care import (
    backup,
    check,
    copy,
    export,
    import_,
    merge_from,
    rebuild,
    reembed,
    say_what_is_pending,
    stats,
)
from faceid.cli.gallery_keys import create, encrypt, rotate
from faceid.cli.options import NAME, Number, gallery_option, output_option
from faceid.cli.output import say, write_records
from faceid.cli.people import one_person, several_people
from faceid.cli.review import review
from faceid.records import (
    PersonRecord,
    TemplateRecord,
    UndoableRecord,
    person_record,
    template_record,
    undoable_record,
)
from indexer.decided_on import DECIDED_ON, DecidedOn
from indexer.fusion import FUSIONS, Fusion
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from indexer.records import TemplateRow

person_argument = click.argument("person", type=NAME, shell_complete=offers.people)
people_argument = click.argument(
    "people", nargs=-1, required=True, type=NAME, metavar="PERSON...", shell_complete=offers.people
)
all_option = click.option("--all", "include_removed", is_flag=True, help="Removed people and templates too.")


@click.group()
def gallery() -> None:
    """List, correct, move and check a gallery. PERSON is an id, an external id, or a name that only one bears.

    '#7' is who has the id 7, whatever others are called.
    """


@gallery.command(name="list", epilog="Example: faceid gallery list --gallery staff --csv")
@gallery_option
@all_option
@output_option
def list_(gallery_path: Place, include_removed: bool, output: str | None) -> None:
    """List the people."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        people = opened.identities(include_removed=include_removed)
        write_records(people, output, person_record, asdict, columns=PersonRecord.__annotations__)


@gallery.command(epilog='Example: faceid gallery show "Ann Lee" --gallery staff --json')
@person_argument
@gallery_option
@all_option
@output_option
def show(person: str, gallery_path: Place, include_removed: bool, output: str | None) -> None:
    """Show one person's templates."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        identity = one_person(opened, person)
        templates = opened.templates_of(identity.id, include_removed=include_removed or identity.removed)
        write_records(templates, output, template_record, _template_row, columns=TemplateRecord.__annotations__)


@gallery.command(epilog='Example: faceid gallery rename "Ann Lee" "Ann Miller" --gallery staff')
@person_argument
@click.argument("new_name", type=NAME)
@gallery_option
def rename(person: str, new_name: str, gallery_path: Place) -> None:
    """Give PERSON another name."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        identity = one_person(opened, person)
        opened.rename(identity.id, new_name)
        (renamed,) = opened.find(identity.id)
        say(f"{identity.name} (id {identity.id}) is now called {renamed.name}.")


@gallery.command(epilog='Example: faceid gallery merge "A. Lee" "Ann Lee" --gallery staff')
@person_argument
@click.argument("into", type=NAME, shell_complete=offers.people)
@gallery_option
def merge(person: str, into: str, gallery_path: Place) -> None:
    """Make PERSON's templates those of INTO: the two were one person."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        source, target = one_person(opened, person), one_person(opened, into)
        opened.merge(source.id, target.id)
        say(f"{source.name} (id {source.id}) is now part of {target.name} (id {target.id}).")


@gallery.command(epilog='Example: faceid gallery remove "Ann Lee" --gallery staff')
@people_argument
@gallery_option
def remove(people: tuple[str, ...], gallery_path: Place) -> None:
    """Hide PERSON: never found again, also when enrolled again (unless with --restore). Nothing is destroyed."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in several_people(opened, people):
            opened.remove(identity.id)
            say(
                f"{identity.name} (id {identity.id}) is removed; `faceid gallery restore {identity.id}` brings it back."
            )


@gallery.command(epilog='Example: faceid gallery restore "Ann Lee" --gallery staff')
@people_argument
@gallery_option
def restore(people: tuple[str, ...], gallery_path: Place) -> None:
    """Bring a removed PERSON back."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in several_people(opened, people):
            opened.restore(identity.id)
            say(f"{identity.name} (id {identity.id}) is back.")


@gallery.command(epilog='Example: faceid gallery erase "Ann Lee" --gallery staff')
@people_argument
@gallery_option
@click.confirmation_option("--yes", prompt="Destroy these people's templates, names and photo digests for good?")
def erase(people: tuple[str, ...], gallery_path: Place) -> None:
    """Destroy PERSON: afterwards no byte of the templates, the name or the photos' digests is left in the gallery."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in several_people(opened, people):
            state = opened.erase(identity.id)
            if state == "pending":
                say(f"Id {identity.id}: pending; gone from every search, the bytes go with the next change.")
            else:
                beyond = ", and with its key what backups hold" if opened.has_person_keys else ""
                say(f"Id {identity.id} is erased{beyond}.")
            for note in opened.erasure_notes:
                say(f"  {note}.")


@gallery.command(epilog="Example: faceid gallery move 55 'Ann Lee' --gallery staff")
@click.argument("templates", nargs=-1, required=True, type=int, metavar="TEMPLATE...")
@click.argument("person", type=NAME)
@gallery_option
def move(templates: tuple[int, ...], person: str, gallery_path: Place) -> None:
    """Give TEMPLATE (an id that `show` lists) to PERSON, whose photo it is. All of them are of one person so far."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        identity = one_person(opened, person)
        count = opened.move_templates(templates, identity.id)
        say(f"{counted(count, 'template', 'templates')} moved to {identity.name} (id {identity.id}).")


@gallery.command(name="remove-template", epilog="Example: faceid gallery remove-template 55 56 --gallery staff")
@click.argument("templates", nargs=-1, required=True, type=int, metavar="TEMPLATE...")
@gallery_option
def remove_template(templates: tuple[int, ...], gallery_path: Place) -> None:
    """Hide TEMPLATE (an id that `show` lists): it stays hidden when its photo is enrolled again."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        count = opened.remove_templates(templates)
        say(f"{counted(count, 'template is', 'templates are')} removed; `faceid gallery undo` takes it back.")


@gallery.command(epilog="Example: faceid gallery undo --list --gallery staff")
@click.argument("entry", type=int, required=False)
@gallery_option
@click.option("--list", "listed", is_flag=True, help="Show what can be undone, newest first, and change nothing.")
@output_option
def undo(entry: int | None, gallery_path: Place, listed: bool, output: str | None) -> None:
    """Take back the newest remove, merge, move or rename, or the ENTRY of the trail that --list shows."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=not listed) as opened:
        if listed:
            changes = opened.undoable()
            write_records(changes, output, undoable_record, asdict, columns=UndoableRecord.__annotations__)
        else:
            undone = opened.undo(entry)
            people = ", ".join(map(str, undone.identity_ids))
            say(f"Undone: {undone.action} of {undone.at}" + (f" (id {people})." if people else "."))


@gallery.command(epilog="Example: faceid gallery purge --older-than 30 --gallery staff")
@gallery_option
@click.option("--older-than", "days", type=Number(0, 100_000), default=0.0, metavar="DAYS", help="Keep newer ones.")
@click.confirmation_option("--yes", prompt="Give up undoing, and destroy the former names kept for it?")
def purge(gallery_path: Place, days: float) -> None:
    """Destroy what `undo` needs: afterwards no former name is left in the gallery."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        count = opened.purge(timedelta(days=days))
        say(f"{counted(count, 'entry', 'entries')} can no longer be undone.")
        say_what_is_pending(opened)


@gallery.group(name="set")
def set_() -> None:
    """Change how a gallery decides."""


@set_.command(epilog="Example: faceid gallery set fusion mean --gallery staff")
@click.argument("how", type=click.Choice(FUSIONS))
@gallery_option
def fusion(how: "Fusion", gallery_path: Place) -> None:
    """Score people by their best template (max) or by the mean of their templates (mean)."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        opened.set_fusion(how)
    say(f"People are scored by `{how}` from now on; thresholds are measured anew when they are next asked for.")


@set_.command(epilog="Example: faceid gallery set decision context --gallery staff")
@click.argument("on", type=click.Choice(DECIDED_ON))
@gallery_option
def decision(on: "DecidedOn", gallery_path: Place) -> None:
    """Decide on the best similarity, or on it in its context: less half of what the next ten people reach."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        opened.set_decided_on(on)
    say(f"Decisions are made on the {on} from now on; thresholds of the other do not count, and are measured anew.")


@set_.command(epilog="Example: faceid gallery set index milvus:http://localhost:19530 --gallery staff")
@click.argument("address", metavar="milvus:URI|pgvector")
@click.option("--forget", is_flag=True, help="Take away what lies there, and keep no index there any more.")
@click.option(
    "--plain-outside-index", is_flag=True, help="Let the vectors of an encrypted gallery lie there in the plain."
)
@gallery_option
def index(address: str, forget: bool, plain_outside_index: bool, gallery_path: Place) -> None:
    """Let an engine elsewhere hold the vectors too, for `faceid identify --index ADDRESS`; writers keep it up.

    A token comes from FACEID_MILVUS_TOKEN. milvus:URI#hnsw (or ivf, diskann) may miss some, and serves --fast; so does
    pgvector#hnsw. pgvector is in the gallery's own database, pgvector:postgresql://USER@HOST/DATABASE in another.
    """
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        if forget:
            opened.forget_outside_index(address)
            say(f"Nothing of this gallery lies at {address} any more.")
        else:
            opened.add_outside_index(address, plain=plain_outside_index)
            say(f"{address} holds the gallery's vectors too; search it with --index {address}.")


_CARE = (export, import_, merge_from, backup, copy, check, rebuild, stats, reembed)
for command in (create, encrypt, rotate, review, *_CARE):
    gallery.add_command(command)


def _template_row(template: "TemplateRow") -> dict[str, object]:
    return {
        "id": template.id,
        "photo": template.source,
        "quality": template.quality,
        "precision": template.precision,
        "created_at": template.created_at,
        "removed": template.removed,
    }
