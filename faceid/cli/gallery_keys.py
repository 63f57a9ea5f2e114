"""The commands of `faceid gallery` that make, encrypt and re-key a gallery.  In Python: methods of `Gallery`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.options import gallery_option, model_option
from faceid.cli.output import say
from indexer.errors import KeyMissing
from indexer.fusion import DEFAULT_FUSION, FUSIONS, Fusion

if TYPE_CHECKING:
    from indexer.crypto.keys import KeyProvider

key_option = click.option(
    "--key",
    metavar="WHERE",
    envvar="FACEID_KEY",
    help="Where the key is: file:PATH, env:NAME, command:COMMAND or keyring:NAME.",
)


@click.command(epilog="Example: faceid gallery create --encrypt --key file:/etc/faceid/staff.key --gallery staff")
@gallery_option
@model_option
@click.option(
    "--fusion", type=click.Choice(FUSIONS), default=DEFAULT_FUSION, show_default=True, help="Score of a person."
)
@click.option("--encrypt", "encrypted", is_flag=True, help="Encrypt everything that will ever be in it.")
@key_option
def create(gallery_path: Path, model_name: str | None, fusion: "Fusion", encrypted: bool, key: str | None) -> None:
    """Make an empty gallery, bound to a model. With a key it is encrypted; --encrypt insists on one."""
    from faceid.models.model_zoo import find_model
    from indexer.gallery import Gallery
    from indexer.records import ModelBinding

    provider = _provider(key) if encrypted or key else None
    model = find_model(model_name)
    binding = ModelBinding(model.spec.name, model.digest, model.spec.dimension)
    Gallery.create(gallery_path, binding, fusion, key=provider).close()
    say(f"{gallery_path} is made{', encrypted' if provider else ''}, bound to {model.spec.name!r}.")


@click.command(epilog="Example: faceid gallery encrypt staff staff-encrypted --key file:/etc/faceid/staff.key")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@key_option
@click.option("--source-key", metavar="WHERE", help="The key of SOURCE, where it is encrypted under another one.")
def encrypt(source: Path, folder: Path, key: str | None, source_key: str | None) -> None:
    """Copy the gallery SOURCE to a new FOLDER, encrypted. SOURCE stays as it is: erase it when the copy serves you."""
    from indexer.crypto.keys import key_from
    from indexer.gallery import Gallery

    Gallery.encrypt(source, folder, _provider(key), source_key=key_from(source_key) if source_key else None)
    say(f"{folder} is an encrypted copy of {source}. {source} still holds everything as before.")


@click.command(epilog="Example: faceid gallery rotate --to file:/etc/faceid/new.key --gallery staff")
@gallery_option
@click.option("--to", "new", required=True, metavar="WHERE", help="Where the new key is, named as --key names one.")
@key_option
def rotate(gallery_path: Path, new: str, key: str | None) -> None:
    """Let another key open the gallery, and the present one no longer. Backups of before keep the key of then."""
    from indexer.crypto.keys import key_from
    from indexer.gallery import Gallery

    key_id = Gallery.rotate(gallery_path, key_from(new), key=_provider(key))
    say(f"{gallery_path} now opens with the key {key_id} alone.")


def _provider(text: Any) -> "KeyProvider":
    from indexer.crypto.keys import key_from

    if not text:
        raise KeyMissing("say where the key is: --key file:PATH, env:NAME, command:COMMAND or keyring:NAME")
    return key_from(text)
