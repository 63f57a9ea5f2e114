"""`faceid completion`: the script that makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command(epilog="Example: source <(faceid completion bash)")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script: put `source <(faceid completion bash)` in your shell's start-up file."""
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(ctx.find_root().command, {}, "faceid", "_FACEID_COMPLETE").source())
