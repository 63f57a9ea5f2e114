"""The commands of `faceid gallery` that make, encrypt and re-key a gallery.  In Python: methods of `Gallery`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceid.cli.gallery_care import say_what_is_pending
from faceid.cli.key_options import KeyPlace, key_option, person_keys_option, source_key_option, turn_key_option
from faceid.cli.options import gallery_option, model_option
from faceid.cli.output import say
from indexer.errors import KeyMissing
from indexer.fusion import DEFAULT_FUSION, FUSIONS, Fusion
from indexer.store.place import Place

if TYPE_CHECKING:
    from indexer.crypto.keys import KeyProvider


@click.command(epilog="Example: faceid gallery create --encrypt --key file:/etc/faceid/staff.key --gallery staff")
@gallery_option
@model_option
@click.option(
    "--fusion", type=click.Choice(FUSIONS), default=DEFAULT_FUSION, show_default=True, help="Score of a person."
)
@click.option("--encrypt", "encrypted", is_flag=True, help="Encrypt everything that will ever be in it.")
@key_option
@turn_key_option
@person_keys_option
def create(
    gallery_path: Place,
    model_name: str | None,
    fusion: "Fusion",
    encrypted: bool,
    key: "KeyProvider | None",
    turn_key: "KeyProvider | None",
    person_keys: Path | None,
) -> None:
    """Make an empty gallery, bound to a model. With a key it is encrypted; --encrypt insists on one.

    With a turn key its vectors lie turned by a secret rotation: without that key they compare with no face. With a
    folder for people's keys, erasing a person reaches the backups.
    """
    from faceid.models.model_zoo import find_model
    from indexer.gallery import Gallery
    from indexer.records import ModelBinding

    provider = _demanded(key) if encrypted or person_keys else key
    model = find_model(model_name)
    binding = ModelBinding(model.spec.name, model.digest, model.spec.dimension)
    Gallery.create(gallery_path, binding, fusion, key=provider, turn_key=turn_key, person_keys=person_keys).close()
    states = {", encrypted": provider, ", its vectors turned": turn_key, ", a key for each person": person_keys}
    state = "".join(words for words, given in states.items() if given)
    say(f"{gallery_path} is made{state}, bound to {model.spec.name!r}.")


@click.command(epilog="Example: faceid gallery encrypt staff staff-encrypted --key file:/etc/faceid/staff.key")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@key_option
@source_key_option
def encrypt(source: Path, folder: Path, key: "KeyProvider | None", source_key: "KeyProvider | None") -> None:
    """Copy the gallery SOURCE to a new FOLDER, encrypted. SOURCE stays as it is: erase it when the copy serves you."""
    from indexer.gallery import Gallery

    Gallery.encrypt(source, folder, _demanded(key), source_key=source_key)
    say(f"{folder} is an encrypted copy of {source}. {source} still holds everything as before.")


@click.command(epilog="Example: faceid gallery rotate --to file:/etc/faceid/new.key --gallery staff")
@gallery_option
@click.option("--to", "new", type=KeyPlace(), help="Where the new key is, named as --key names one.")
@click.option("--turn-to", "turn_to", type=KeyPlace(), help="Turn all vectors anew, by the rotation of this key.")
@key_option
@turn_key_option
def rotate(
    gallery_path: Place,
    new: "KeyProvider | None",
    turn_to: "KeyProvider | None",
    key: "KeyProvider | None",
    turn_key: "KeyProvider | None",
) -> None:
    """Let another key open the gallery (--to), or turn its vectors by another (--turn-to), and the old no longer.

    No photo is needed. Backups and exports of before keep the keys of then.
    """
    from indexer.gallery import Gallery

    if new is None and turn_to is None:
        raise click.UsageError("say which key is new: --to, --turn-to, or both")
    if turn_to is not None:
        with Gallery.open(gallery_path, writable=True, key=key, turn_key=turn_key) as opened:
            key_id = opened.turn(turn_to)
            say(f"The vectors of {gallery_path} are turned by the key {key_id}; those copied before fit nothing here.")
            say_what_is_pending(opened)
    if new is not None:
        key_id = Gallery.rotate(gallery_path, new, key=_demanded(key))
        say(f"{gallery_path} now opens with the key {key_id} alone.")


def _demanded(key: "KeyProvider | None") -> "KeyProvider":
    if key is None:
        raise KeyMissing("say where the key is: --key file:PATH, env:NAME, command:COMMAND or keyring:NAME")
    return key
