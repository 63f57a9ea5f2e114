"""`faceid serve`: a REST API and a web page over galleries.  In Python: `faceid.service.app.create_app`."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from faceid.cli.config import Settings as FileSettings
from faceid.cli.config import settings_in
from faceid.cli.options import NAME, AnyFunction, output_option
from faceid.cli.output import say, write_facts, write_records

if TYPE_CHECKING:
    from faceid.service.database import ServiceDatabase
    from faceid.service.keys import KeyRow, Role
    from faceid.service.settings import Settings

# Settings at the top of the file that a server has, too.
_SHARED = ("backend", "detector", "detector_weights", "device", "far", "fpir", "min_face_size", "model", "precision")


class ServeGroup(click.Group):
    """Its table in faceid.toml is the server's settings, not the options of a command."""

    own_table = True


def _data_option(function: AnyFunction) -> AnyFunction:
    for option in (
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A faceid.toml to take the table [serve] from, in the place of the usual ones.",
        ),
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            envvar="FACEID_SERVE_DATA",
            help="The server's own folder: keys, audit log, jobs.",
        ),
    ):
        function = option(function)
    return function


@click.group(cls=ServeGroup, invoke_without_command=True, epilog="Example: faceid serve --gallery staff --port 8321")
@click.option(
    "--gallery",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FACEID_GALLERY",
    help="Serve this one gallery under the name `default`; made where there is none.",
)
@click.option("--host", help="Address to listen at (default 127.0.0.1); any other takes a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen at (default 8321).")
@click.option("--demo", is_flag=True, help="Serve drawn people who do not exist, in a folder that is gone afterwards.")
@_data_option
@click.pass_context
def serve(
    ctx: click.Context, /, gallery: Path | None, host: str | None, port: int | None, demo: bool, **place: Any
) -> None:
    """Serve galleries over HTTP: a REST API under /v1, and a page at /. Needs faceid-engine[serve].

    Without a key only this machine can ask. Everything else is set in the table [serve] of faceid.toml.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options_before(ctx, ctx.invoked_subcommand)
        return
    if demo:
        _serve_demo(ctx, host=host, port=port, **place)
        return
    settings = _settings(ctx, gallery=gallery, host=host, port=port, **place)
    from faceid.service.run import serve as run

    run(settings)


def _refuse_options_before(ctx: click.Context, subcommand: str) -> None:
    """Raise UsageError for what the subcommand would not heed: a key would be made for another server."""
    for parameter in ctx.command.params:
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} before {subcommand!r} is for a server alone; write it after the subcommand"
            )


def _serve_demo(ctx: click.Context, **flags: Any) -> None:
    usual = _settings(ctx, **flags)
    from faceid.service.demo import drawn_gallery
    from faceid.service.run import address
    from faceid.service.run import serve as run

    with tempfile.TemporaryDirectory(prefix="faceid-demo-") as folder:
        say("drawing and enrolling people who do not exist")
        settings = usual.model_copy(update=drawn_gallery(Path(folder)))
        say(
            f"Open {address(settings)} and try the photos in {folder}/visitors: people who are enrolled, and strangers."
        )
        run(settings)


@serve.group()
def keys() -> None:
    """Make, list and revoke the keys that programs and people come in with."""


@keys.command(epilog="Example: faceid serve keys make reception --role staff=identify --days 90")
@click.argument("label", type=NAME)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    metavar="[GALLERY=]ROLE",
    help="identify, enrol, curate or admin; for one gallery, or for all.",
)
@click.option("--days", type=click.IntRange(1, 36_500), help="Let it expire after so many days.")
@_data_option
@output_option
@click.pass_context
def make(
    ctx: click.Context, /, label: str, roles: tuple[str, ...], days: int | None, output: str | None, **place: Any
) -> None:
    """Make a key for LABEL, which says who has it. It is shown this once."""
    from faceid.service.keys import make_key

    with _database(ctx, **place) as database:
        lifetime = None if days is None else timedelta(days=days)
        row, text = make_key(database, label, _roles(roles), lifetime)
    if output:
        write_records([{**_record(row), "key": text}], output, dict, dict)
    else:
        click.echo(text)
        say(f"Key {row.id} for {label}. It is not kept anywhere and will not be shown again.")


@keys.command(name="list", epilog="Example: faceid serve keys list --json")
@_data_option
@output_option
@click.pass_context
def list_(ctx: click.Context, /, output: str | None, **place: Any) -> None:
    """List the keys: never the keys themselves, only how they begin."""
    from faceid.service.keys import KeyRow, list_keys

    with _database(ctx, **place) as database:
        write_records(list_keys(database), output, _record, _record, columns=KeyRow.__annotations__)


@keys.command(epilog="Example: faceid serve keys revoke 3")
@click.argument("key")
@_data_option
@click.pass_context
def revoke(ctx: click.Context, /, key: str, **place: Any) -> None:
    """Let KEY, an id or the beginning that the list shows, open nothing from now on."""
    from faceid.service.keys import revoke_key

    with _database(ctx, **place) as database:
        row = revoke_key(database, key)
    say(f"Key {row.id} ({row.label}) is revoked.")


@serve.group()
def audit() -> None:
    """Check and export the audit log."""


@audit.command(epilog="Example: faceid serve audit verify --anchor HASH")
@click.option("--anchor", help="A hash that was noted before: it must still be in the log.")
@_data_option
@click.pass_context
def verify(ctx: click.Context, /, anchor: str | None, **place: Any) -> None:
    """Follow the chain of hashes; exits with 5 where an entry was changed, taken out or put in."""
    from faceid.service.audit import verify as check

    with _database(ctx, **place) as database:
        verdict = check(database, anchor)
    write_facts({"entries": verdict.rows, "head": verdict.head}, ("what", "value"))
    if verdict.broken_at is not None:
        say(f"The chain is broken at entry {verdict.broken_at}: it or one before it was altered.")
    elif not verdict.anchor_seen:
        say("The anchor is not in the log: entries were taken out at its end, or it is another log.")
    else:
        say("The log is whole. Note the head somewhere else, to see later that nothing was cut off.")
        return
    ctx.exit(5)


@audit.command(epilog="Example: faceid serve audit export --gallery staff > audit.jsonl")
@_data_option
@click.option("--gallery", help="Only this gallery's, by its name.")
@click.pass_context
def export(ctx: click.Context, /, gallery: str | None, **place: Any) -> None:
    """Write the log as JSON Lines, oldest first."""
    from faceid.service.audit import entries

    found = False
    with _database(ctx, **place) as database:
        for one in entries(database, gallery=gallery):
            click.echo(json.dumps(one, ensure_ascii=True))
            found = True
    if gallery is not None and not found:
        say(f"No entry is about a gallery called {gallery!r}.")


def _database(ctx: click.Context, **place: Any) -> "ServiceDatabase":
    settings = _settings(ctx, **place)
    from faceid.service.database import ServiceDatabase

    return ServiceDatabase(settings.data)


def _settings(ctx: click.Context, *, config: Path | None, data: Path | None, **flags: Any) -> "Settings":
    """Put the settings together: flags beat the file, which beats the defaults."""
    try:
        from faceid.service.settings import make_settings
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"{error.name} is missing: the server comes with `pip install 'faceid-engine[serve]'`"
        ) from error
    values = _table(ctx, config)
    gallery = flags.pop("gallery", None)
    if gallery is not None:
        values["galleries"] = {"default": gallery}
    values |= {name: value for name, value in {**flags, "data": data}.items() if value is not None}
    values.setdefault("galleries", {"default": _user_data() / "gallery"})
    values.setdefault("data", _user_data() / "service")
    return make_settings(values)


def _table(ctx: click.Context, config: Path | None) -> dict[str, Any]:
    """Return the table [serve], and what stands at the top of the file and concerns a server."""
    file: FileSettings | None = ctx.find_root().meta.get("faceid.settings")
    if config is not None:
        try:
            file = settings_in(config, here=False)
        except OSError as error:
            raise click.UsageError(f"{config}: {error.strerror}") from error
    if file is None:
        return {}
    table = file.own_table("serve", _SHARED)
    if isinstance(gallery := file.values.get("gallery"), str):
        table.setdefault("galleries", {"default": gallery})
    return table


def _user_data() -> Path:
    from platformdirs import user_data_path

    return user_data_path("faceid", appauthor=False)


def _roles(texts: Sequence[str]) -> dict[str, "Role"]:
    roles = dict(_role(text) for text in texts)
    if len(roles) < len(texts):
        raise click.UsageError("two roles for one gallery: give the larger one, which may do what the other may")
    return roles


def _role(text: str) -> tuple[str, "Role"]:
    from faceid.service.keys import EVERY_GALLERY, ROLES

    gallery, mark, role = text.rpartition("=")
    if mark and not gallery:  # a variable that is not set must not open every gallery
        raise click.UsageError(f"{text!r} names no gallery; a role for all of them stands without `=`")
    for known in ROLES:
        if role == known:
            return gallery or EVERY_GALLERY, known
    raise click.UsageError(f"{role!r} is no role; choose one of {', '.join(ROLES)}")


def _record(row: "KeyRow") -> dict[str, Any]:
    roles = ", ".join(f"{gallery}={role}" for gallery, role in row.roles.items())
    return {**asdict(row), "roles": roles}
