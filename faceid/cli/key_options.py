"""Options that say where a key is: file:PATH, env:NAME, command:COMMAND or keyring:NAME."""

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

source_key_option = click.option(
    "--source-key", type=KeyPlace(), help="The key of what is read, where it is encrypted under another one."
)
