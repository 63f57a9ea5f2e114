"""`faceid completion`: the script that makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

# What click's scripts do with a name, and what they are to do. Bash puts what is offered into the line as it is: a name
# of two words would be two, and `$(...)` in one would be run. Within quotation marks, where no backslash helps, only
# names are offered that are the same there. For fish, a name ended at its first comma.
_NAMES = {
    "read type value": "read -r type value",
    "COMPREPLY+=($value)": r"""case ${COMP_WORDS[COMP_CWORD]} in
                [\"\']*) [[ $value == *[\"\'\\\$\`!]* ]] || COMPREPLY+=("$value") ;;
                *) COMPREPLY+=("$(printf %q "$value")") ;;
            esac""",
    'string split ","': 'string split --max 1 ","',
}


@click.command(epilog="Example: source <(faceid completion bash)")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script: put `source <(faceid completion bash)` in your shell's start-up file."""
    completer = get_completion_class(shell)
    assert completer is not None
    script = completer(ctx.find_root().command, {}, "faceid", "_FACEID_COMPLETE").source()
    for clicks, ours in _NAMES.items():
        script = script.replace(clicks, ours)
    click.echo(script)
