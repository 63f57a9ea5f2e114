"""The command line: one group, each command loaded only when it is typed (or listed), errors turned into exit codes."""

import os
import sys
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Any

import click

from faceid.cli.config import read_config
from faceid.rooms import require_our_rooms
from indexer.errors import FaceIdError

# In the order of use. The modules are light: torch, faiss, sqlalchemy and cv2 are imported when a command runs.
COMMANDS = {
    "enroll": "faceid.cli.enroll",
    "identify": "faceid.cli.identify",
    "verify": "faceid.cli.verify",
    "gallery": "faceid.cli.gallery",
    "calibrate": "faceid.cli.calibrate",
    "embed": "faceid.cli.embed",
    "models": "faceid.cli.models",
    "doctor": "faceid.cli.doctor",
    "completion": "faceid.cli.completion",
}


# The rooms above this one, whose commands plug themselves in; a folder of the user's may bear their names.
ROOMS = ("benchmarks", "training")


class FaceIdGroup(click.Group):
    """The commands of this room, and those that benchmarks and training plug in (entry points `faceid.commands`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use, the plugged-in ones last."""
        return [*COMMANDS, *sorted(entry_points(group="faceid.commands").names)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None if there is no such command."""
        if cmd_name in COMMANDS:
            command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
            return command
        for entry in entry_points(group="faceid.commands", name=cmd_name):
            room = entry.module.partition(".")[0]
            if room in ROOMS:
                require_our_rooms(room)
            plugged_in: click.Command = entry.load()
            return plugged_in
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; this is the one place where an error becomes text and an exit code."""
        try:
            return super().invoke(ctx)
        except FaceIdError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)


@click.command(cls=FaceIdGroup)
@click.version_option(version=version("faceid-engine"), prog_name="faceid")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Enrol photos of known people; a new photo comes back as one of them, or as nobody in the gallery.

    Exit codes: 0 done, 1 failed, 2 usage, 3 some inputs failed (the rest is done), 4 gallery and model do not match,
    5 store damaged, 6 gallery locked by another process.
    """
    ctx.default_map = read_config()


def main() -> None:
    """Run the command line; a defect of ours ends in one line, not in a traceback (set FACEID_DEBUG to see it)."""
    if hasattr(sys.stdout, "reconfigure"):
        # A name must not stop the output because the terminal's encoding lacks a letter of it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        cli.main(prog_name="faceid")
    except Exception as error:
        if os.environ.get("FACEID_DEBUG"):
            raise
        if isinstance(error, ImportError):  # of a library that is not there, or a package of ours that is hidden
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        click.echo(f"Error: unexpected {type(error).__name__}: {error} (FACEID_DEBUG=1 shows where)", err=True)
        sys.exit(1)
