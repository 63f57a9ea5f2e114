"""Options that say where a key is: file:PATH, env:NAME, command:COMMAND or keyring:NAME."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from indexer.crypto.keys import KeyProvider


class KeyPlace(click.ParamType["KeyProvider"]):
    """Where a key is, in words; what it names is asked when it is used."""

    name = "WHERE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "KeyProvider":
        """Read the words."""
        from indexer.crypto.keys import key_from

        return key_from(str(value))


key_option = click.option(
    "--key",
    type=KeyPlace(),
    envvar="FACEID_KEY",
    help="Where the key is: file:PATH, env:NAME, command:COMMAND or keyring:NAME.",
)

turn_key_option = click.option(
    "--turn-key",
    type=KeyPlace(),
    envvar="FACEID_TURN_KEY",
    help="Where the key is that turns the vectors, named as --key names one.",
)

person_keys_option = click.option(
    "--person-keys",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FACEID_PERSON_KEYS",
    help="Folder for a key of each person, apart from the gallery: an erase then reaches backups, too.",
)

source_key_option = click.option(
    "--source-key", type=KeyPlace(), help="The key of what is read, where it is encrypted under another one."
)

source_turn_key_option = click.option(
    "--source-turn-key", type=KeyPlace(), help="The key that turns the vectors of what is read, where it is another."
)
