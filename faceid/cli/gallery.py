"""`faceid gallery ...`: look after a gallery.  In Python: the methods of `Gallery` of the same names."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.options import engine_options, gallery_option, output_option
from faceid.cli.output import say, write_records, write_table
from indexer.errors import GalleryError

if TYPE_CHECKING:
    from indexer.gallery import Gallery
    from indexer.records import Identity, TemplateRow

person_argument = click.argument("person")
all_option = click.option("--all", "include_removed", is_flag=True, help="Removed people and templates too.")


@click.group()
def gallery() -> None:
    """List, correct, move and check a gallery. PERSON is an id, an external id, or a name that only one bears."""


@gallery.command(name="list")
@gallery_option
@all_option
@output_option
def list_(gallery_path: Path, include_removed: bool, output: str | None) -> None:
    """List the people."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        write_records(opened.identities(include_removed=include_removed), output, asdict, asdict)


@gallery.command()
@person_argument
@gallery_option
@all_option
@output_option
def show(person: str, gallery_path: Path, include_removed: bool, output: str | None) -> None:
    """Show one person's templates."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        identity = _one(opened, person)
        templates = [
            template
            for template in opened.templates(include_removed=include_removed or identity.removed)
            if template.identity_id == identity.id
        ]
        write_records(templates, output, _template_record, _template_row)


@gallery.command()
@person_argument
@click.argument("new_name")
@gallery_option
def rename(person: str, new_name: str, gallery_path: Path) -> None:
    """Give PERSON another name."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        identity = _one(opened, person)
        opened.rename(identity.id, new_name)
        say(f"{identity.name} (id {identity.id}) is now called {new_name}.")


@gallery.command()
@person_argument
@click.argument("into")
@gallery_option
def merge(person: str, into: str, gallery_path: Path) -> None:
    """Make PERSON's templates those of INTO: the two were one person."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        source, target = _one(opened, person), _one(opened, into)
        opened.merge(source.id, target.id)
        say(f"{source.name} (id {source.id}) is now part of {target.name} (id {target.id}).")


@gallery.command()
@click.argument("people", nargs=-1, required=True, metavar="PERSON...")
@gallery_option
def remove(people: tuple[str, ...], gallery_path: Path) -> None:
    """Hide PERSON: never found again, also when enrolled again (unless with --restore). Nothing is destroyed."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in [_one(opened, person) for person in people]:
            opened.remove(identity.id)
            say(
                f"{identity.name} (id {identity.id}) is removed; `faceid gallery restore {identity.id}` brings it back."
            )


@gallery.command()
@click.argument("people", nargs=-1, required=True, metavar="PERSON...")
@gallery_option
def restore(people: tuple[str, ...], gallery_path: Path) -> None:
    """Bring a removed PERSON back."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in [_one(opened, person) for person in people]:
            opened.restore(identity.id)
            say(f"{identity.name} (id {identity.id}) is back.")


@gallery.command()
@click.argument("people", nargs=-1, required=True, metavar="PERSON...")
@gallery_option
@click.confirmation_option("--yes", prompt="Destroy these people's templates, names and photo digests for good?")
def erase(people: tuple[str, ...], gallery_path: Path) -> None:
    """Destroy PERSON: afterwards no byte of the templates, the name or the photos' digests is left in the gallery."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        for identity in [_one(opened, person) for person in people]:
            state = opened.erase(identity.id)
            if state == "pending":
                say(f"Id {identity.id}: pending, a reader holds an older revision; the rest is erased when it leaves.")
            else:
                say(f"Id {identity.id} is erased.")


@gallery.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@gallery_option
def export(file: Path, gallery_path: Path) -> None:
    """Write the gallery to one checksummed FILE, to be imported elsewhere. It holds biometric data."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        count = opened.export(file)
        say(f"{count} templates of {opened.size} people written to {file}.")


@gallery.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@gallery_option
def import_(file: Path, gallery_path: Path) -> None:
    """Add the people of an exported FILE to the gallery; makes the gallery where there is none."""
    from faceid.cli.session import open_to_import

    with open_to_import(gallery_path, file) as opened:
        added = opened.import_(file)
        counts = Counter(outcome.status.replace("_", " ") for outcome in added)
        outcomes = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no templates"
        say(f"{outcomes}; {opened.path} now holds {opened.size} people.")


@gallery.command()
@gallery_option
@output_option
@click.pass_context
def check(ctx: click.Context, gallery_path: Path, output: str | None) -> None:
    """Check the database and its caches; exits with 5 if the truth itself is damaged."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        problems = opened.check()
    write_records(problems, output, asdict, asdict)
    say(f"{len(problems)} problems found." if problems else "No problem found.")
    damaged = any(not problem.rebuild_mends for problem in problems)
    ctx.exit(5 if damaged else 1 if problems else 0)


@gallery.command()
@gallery_option
def rebuild(gallery_path: Path) -> None:
    """Make the caches anew from the database."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        opened.rebuild()
        say(f"{opened.path}: caches rebuilt at revision {opened.revision}.")


@gallery.command()
@gallery_option
@output_option
def stats(gallery_path: Path, output: str | None) -> None:
    """Count people, templates and bytes."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        counts = opened.stats()
        if output:
            write_records([counts], output, asdict, asdict)
        else:
            write_table([{"what": name, "count": value} for name, value in asdict(counts).items()])


@gallery.command()
@gallery_option
@engine_options
@click.option("--drop-missing", is_flag=True, help="Remove templates whose photo is gone or has changed.")
@click.pass_context
def reembed(ctx: click.Context, /, gallery_path: Path, drop_missing: bool, **engine_settings: Any) -> None:
    """Embed the gallery's photos with another model (--model) and bind the gallery to it; goes on if interrupted."""
    from faceid.cli.session import make_engine
    from faceid.reembedding import reembed_gallery
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        engine = make_engine(**engine_settings)
        lost = reembed_gallery(engine, opened, drop_missing=drop_missing)
        for template in lost:
            say(f"{template.source}: gone, changed, or without the enrolled face ({template.name})")
        if lost and not drop_missing:
            raise GalleryError(
                f"{len(lost)} templates cannot be embedded anew, so the gallery stays with {opened.model.name!r}; "
                "bring their photos back, or give --drop-missing"
            )
        say(f"{opened.path} is now bound to {opened.model.name!r} ({opened.model.digest}).")
    ctx.exit(3 if lost else 0)


def _one(opened: "Gallery", person: str) -> "Identity":
    found: Sequence[Identity] = opened.find(person)
    if not found:
        raise GalleryError(f"nobody called {person!r} in {opened.path}; `faceid gallery list --all` shows everybody")
    if len(found) > 1:
        ids = ", ".join(str(identity.id) for identity in found)
        raise GalleryError(f"several people are called {person!r}: give the id ({ids})")
    return found[0]


def _template_record(template: "TemplateRow") -> dict[str, object]:
    return {**asdict(template), "source_digest": template.source_digest.hex()}


def _template_row(template: "TemplateRow") -> dict[str, object]:
    return {
        "id": template.id,
        "photo": template.source,
        "quality": template.quality,
        "precision": template.precision,
        "created_at": template.created_at,
        "removed": template.removed,
    }
