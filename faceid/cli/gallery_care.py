"""The commands of `faceid gallery` that look after the files: export, backup, check, rebuild and the like."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.key_options import source_key_option, source_turn_key_option
from faceid.cli.options import OUTPUT_FILE, GalleryPlace, engine_options, gallery_option, output_option
from faceid.cli.output import say, write_facts, write_records
from faceid.explanations import explanation
from indexer.errors import GalleryError
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from indexer.crypto.keys import KeyProvider
    from indexer.gallery import Gallery

revive_option = click.option(
    "--revive-erased", is_flag=True, help="Also bring back people who were erased from this gallery."
)


@click.command(epilog="Example: faceid gallery export staff.parquet --gallery staff")
@click.argument("file", type=OUTPUT_FILE)
@gallery_option
@click.option("--plain", is_flag=True, help="Of an encrypted gallery: write the file without encryption.")
def export(file: Path, gallery_path: Place, plain: bool) -> None:
    """Write the gallery to one checksummed Parquet FILE, to be imported elsewhere. It holds biometric data."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        count = opened.export(file, plain=plain)
        say(f"{_templates(count)} of {_people(opened.size)} written to {file}.")


@click.command(name="import", epilog="Example: faceid gallery import staff.parquet --gallery copy")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@gallery_option
@revive_option
@source_key_option
@source_turn_key_option
@click.pass_context
def import_(
    ctx: click.Context,
    file: Path,
    gallery_path: Place,
    revive_erased: bool,
    source_key: "KeyProvider | None",
    source_turn_key: "KeyProvider | None",
) -> None:
    """Add the people of an exported FILE to the gallery; makes the gallery where there is none."""
    from faceid.cli.session import open_to_import

    with open_to_import(gallery_path, file, source_key) as opened:
        added = opened.import_(
            file, revive_erased=revive_erased, source_key=source_key, source_turn_key=source_turn_key
        )
        counts = Counter(outcome.status.replace("_", " ") for outcome in added)
        outcomes = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no templates"
        say(f"{outcomes}; {opened.place} now holds {_people(opened.size)}.")
        rejected = Counter(outcome.reason_codes for outcome in added if outcome.status == "rejected")
        for codes, count in rejected.items():
            say(f"{count} rejected: {', '.join(map(explanation, codes))}")
    ctx.exit(3 if rejected else 0)


@click.command(name="merge-from", epilog="Example: faceid gallery merge-from other --gallery staff")
@click.argument("other", type=GalleryPlace(exists=True))
@gallery_option
@revive_option
@source_key_option
@source_turn_key_option
@output_option
@click.pass_context
def merge_from(
    ctx: click.Context,
    other: Place,
    gallery_path: Place,
    revive_erased: bool,
    source_key: "KeyProvider | None",
    source_turn_key: "KeyProvider | None",
    output: str | None,
) -> None:
    """Add everybody of OTHER, a gallery of the same model. Repeatable; conflicts are told, nobody here is changed."""
    from indexer.gallery import Gallery
    from indexer.records import MergedPerson

    with Gallery.open(gallery_path, writable=True) as opened:
        people = opened.merge_from(
            other, revive_erased=revive_erased, source_key=source_key, source_turn_key=source_turn_key
        )
        conflicting = [one for one in people if one.conflicts]
        shown = people if output else conflicting
        write_records(shown, output, asdict, asdict, columns=MergedPerson.__annotations__)
        enrolled = sum(one.enrolled for one in people)
        say(f"{_templates(enrolled)} enrolled of {_people(len(people))}; {_people(len(conflicting))} with conflicts.")
    ctx.exit(3 if conflicting else 0)


@click.command(epilog="Example: faceid gallery backup backups/monday --gallery staff")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@gallery_option
def backup(folder: Path, gallery_path: Place) -> None:
    """Copy the gallery, consistently while it is in use, to a new FOLDER. It holds biometric data."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        opened.backup(folder)
        say(f"{opened.place} is backed up in {folder}.")


@click.command(epilog="Example: faceid gallery copy staff postgresql://ann@db.example/people/staff")
@click.argument("source", metavar="FROM", type=GalleryPlace())
@click.argument("target", metavar="TO", type=GalleryPlace())
@source_key_option
def copy(source: Place, target: Place, source_key: "KeyProvider | None") -> None:
    """Copy the gallery FROM to TO, which is new: folders or postgresql://USER@HOST:PORT/DATABASE/NAME, either way.

    Every row is verified when it is read, and the copy is read back and compared before it counts.
    """
    from indexer.gallery import Gallery

    count = Gallery.copy(source, target, source_key=source_key)
    say(f"{target} is a copy of {source}: {counted(count, 'row', 'rows')}, read back and the same.")


@click.command(epilog="Example: faceid gallery check --deep --gallery staff")
@gallery_option
@click.option("--deep", is_flag=True, help="Read every byte of the caches too, and compare them with the database.")
@output_option
@click.pass_context
def check(ctx: click.Context, gallery_path: Place, deep: bool, output: str | None) -> None:
    """Check the database and its caches; exits with 5 if the truth itself is damaged."""
    from indexer.gallery import Gallery
    from indexer.records import Problem

    with Gallery.open(gallery_path) as opened:
        problems = opened.check(deep=deep)
    write_records(problems, output, asdict, asdict, columns=Problem.__annotations__)
    say(f"{counted(len(problems), 'problem', 'problems')} found." if problems else "No problem found.")
    damaged = any(not problem.rebuild_mends and problem.kind != "erase_pending" for problem in problems)
    ctx.exit(5 if damaged else 1 if problems else 0)


@click.command(epilog="Example: faceid gallery rebuild --gallery staff")
@gallery_option
def rebuild(gallery_path: Place) -> None:
    """Make the caches anew from the database."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        opened.rebuild()
        say(f"{opened.place}: caches rebuilt at revision {opened.revision}.")


@click.command(epilog="Example: faceid gallery stats --gallery staff --json")
@gallery_option
@output_option
def stats(gallery_path: Place, output: str | None) -> None:
    """Count people, templates and bytes."""
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path) as opened:
        counts = opened.stats()
        if output:
            write_records([counts], output, asdict, asdict)
        else:
            write_facts(asdict(counts), ("what", "count"))


@click.command(epilog="Example: faceid gallery reembed --model other --photos-root archive --gallery staff")
@gallery_option
@engine_options
@click.option("--drop-missing", is_flag=True, help="Remove templates whose photo is gone or has changed.")
@click.option(
    "--photos-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where photos that were moved may be: below here, with the ends of their old paths.",
)
@click.pass_context
def reembed(
    ctx: click.Context,
    /,
    gallery_path: Place,
    drop_missing: bool,
    photos_root: Path | None,
    **engine_settings: Any,
) -> None:
    """Embed the gallery's photos with another model (--model) and bind the gallery to it; goes on if interrupted."""
    from faceid.cli.session import make_engine
    from faceid.reembedding import reembed_gallery
    from indexer.gallery import Gallery

    with Gallery.open(gallery_path, writable=True) as opened:
        engine = make_engine(**engine_settings)
        lost = reembed_gallery(engine, opened, drop_missing=drop_missing, photos_root=photos_root)
        for template in lost.photos:
            say(f"{template.source}: gone, changed, or without the enrolled face ({template.name})")
        if lost.unread:
            for _, error in lost.unread:
                say(str(error))
            raise GalleryError(
                f"{counted(len(lost.unread), 'photo is', 'photos are')} there and cannot be read, so the gallery stays"
                f" with {opened.model.name!r}; see to that, or move away what --drop-missing is to drop"
            )
        if lost.photos and not drop_missing:
            raise GalleryError(
                f"{_templates(len(lost.photos))} cannot be embedded anew, so the gallery stays with "
                f"{opened.model.name!r}; bring their photos back, say with --photos-root where they are now, or give "
                "--drop-missing"
            )
        if lost.pruned:
            say(f"{_templates(len(lost.pruned))} that had been removed, and whose photos are gone, cannot be restored.")
        say(f"{opened.place} is now bound to {opened.model.name!r} ({opened.model.digest}).")
    ctx.exit(3 if lost.photos else 0)


def say_what_is_pending(opened: "Gallery") -> None:
    """Say so where bytes of what was destroyed are still in the gallery's files, and what is in the way."""
    if opened.erase_pending:
        say("Pending: its bytes are still in the gallery's files, and go with the next change.")
        for note in opened.erasure_notes:
            say(f"  {note}.")


def _people(number: int) -> str:
    return counted(number, "person", "people")


def _templates(number: int) -> str:
    return counted(number, "template", "templates")
