"""The command line: one group, each command loaded only when it is typed (or listed), errors turned into exit codes."""

import errno
import os
import re
import sys
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import click

from faceid.cli.config import at_home, read_settings
from faceid.cli.wrapping import wrapped
from faceid.rooms import require_our_rooms
from indexer.errors import FaceIdError
from indexer.text import plain_lines

# In the order of use. The modules are light: torch, faiss, sqlalchemy and cv2 are imported when a command runs.
COMMANDS = {
    "enroll": "faceid.cli.enroll",
    "identify": "faceid.cli.identify",
    "watch": "faceid.cli.watch",
    "verify": "faceid.cli.verify",
    "gallery": "faceid.cli.gallery",
    "cluster": "faceid.cli.cluster",
    "calibrate": "faceid.cli.calibrate",
    "embed": "faceid.cli.embed",
    "models": "faceid.cli.models",
    "serve": "faceid.cli.serve",
    "doctor": "faceid.cli.doctor",
    "completion": "faceid.cli.completion",
}


_EMPTY = re.compile("(--[a-z-]+=)?")  # as `--gallery "$STAFF"` and `--gallery="$STAFF"` are without STAFF
_AT_HOME = re.compile("(--[a-z-]+=)(~/.*)", re.DOTALL)  # which shells leave as it is
# Variables that hold paths, and that services and containers set as they are written: no shell has seen them.
_PATHS = (
    *("FACEID_GALLERY", "FACEID_MODEL", "FACEID_MODELS", "FACEID_DETECTOR_WEIGHTS", "FACEID_SERVE_DATA"),
    *("FACEID_CACHES", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)

_ULIMITS = "`ulimit -a` says how many processes and open files there may be, and how much memory"

# The rooms above this one, whose commands plug themselves in; a folder of the user's may bear their names.
ROOMS = ("benchmarks", "training")


class FaceIdGroup(click.Group):
    """The commands of this room, and those that benchmarks and training plug in (entry points `faceid.commands`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use, the plugged-in ones last."""
        return [*COMMANDS, *sorted(entry_points(group="faceid.commands").names)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None if there is no such command, or a plugged-in one cannot be loaded."""
        try:
            return _load(cmd_name)
        except ImportError:  # one broken package must not take the list of commands with it
            return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, and give it what the settings file says for it.

        Raises click.UsageError for an argument that is empty: a path that is means the current folder.
        """
        _load(args[0])  # says why, where it cannot be
        if not ctx.resilient_parsing and any(_EMPTY.fullmatch(one) for one in args):
            raise click.UsageError("an argument is empty; is a variable not set?")
        name, command, rest = super().resolve_command(ctx, args)
        settings = read_settings()
        if settings and name and command:
            settings.check_tables(self.list_commands(ctx))
            ctx.meta["faceid.settings"] = settings
            ctx.default_map = {name: settings.of(name, command)}
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; this is the one place where an error becomes text and an exit code."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # It may quote a file's name; click shows it where it ends the program.
            object.__setattr__(error, "message", wrapped(plain_lines(error.message)))
            raise
        except FaceIdError as error:
            _end(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            needs = "report] (the demo and the benchmarks), [train] or [gpu"
            _end(ctx, f"this needs PyTorch, which comes with an extra: faceid-engine[{needs}]", 1)
        except KeyboardInterrupt:
            _end(ctx, "interrupted", 130)
        except MemoryError as error:
            _end(ctx, f"there is not enough memory{f' ({error})' if str(error) else ''}; `ulimit -v` says how much", 1)
        except RuntimeError as error:
            if "can't start new thread" not in str(error):
                raise
            _end(ctx, f"no more threads may be started; {_ULIMITS}", 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone: click ends quietly
                raise
            _end(ctx, _told(error), 1)


def _load(name: str) -> click.Command | None:
    if name in COMMANDS:
        own: click.Command = getattr(import_module(COMMANDS[name]), name)
        return own
    for entry in entry_points(group="faceid.commands", name=name):
        room = entry.module.partition(".")[0]
        if room in ROOMS:
            require_our_rooms(room)
        plugged_in: click.Command = entry.load()
        return plugged_in
    return None


def _told(error: OSError) -> str:
    if not error.filename and error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return f"the system gives no more ({error.strerror}); {_ULIMITS}"
    where = f"{error.filename}: " if error.filename else "the output cannot be written: "
    return f"{where}{error.strerror or error}"


def _end(ctx: click.Context, message: str, exit_code: int) -> None:
    click.echo(wrapped(f"Error: {plain_lines(message)}"), err=True)
    ctx.exit(exit_code)


@click.command(cls=FaceIdGroup)
@click.version_option(version=version("faceid-engine"), prog_name="faceid")
def cli() -> None:
    """Enrol photos of known people; a new photo comes back as one of them, or as nobody in the gallery.

    Exit codes: 0 done, 1 failed, 2 usage, 3 some inputs failed (the rest is done), 4 gallery and model do not match,
    5 store damaged, 6 gallery locked by another process, 7 no key for an encrypted gallery, 8 another key's,
    9 the gallery's server is not reached, 130 interrupted.
    """


def _open_what_is_closed() -> None:
    """Give a program that was started without its standard streams (`2>&-`) ones that lead nowhere.

    Python has none for them then, every message would be an error, and the next file that is opened would take the
    number of standard error, to which libraries write.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # it has taken the lowest number that was free
    os.close(opened)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - as long as the program


def _find_home() -> None:
    """Put the home folder in the place of `~`; a user without any (no HOME, unknown to the system) has `/` for one.

    That is what containers give. Otherwise a folder that is called `~` would be made in the current one.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
    for name in _PATHS:
        if name in os.environ:
            os.environ[name] = at_home(os.environ[name])
    sys.argv[1:] = [m[1] + at_home(m[2]) if (m := _AT_HOME.fullmatch(one)) else one for one in sys.argv[1:]]


def main() -> None:
    """Run the command line; a defect of ours ends in one line, not in a traceback (set FACEID_DEBUG to see it)."""
    _open_what_is_closed()
    _find_home()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Whatever the locale says: programs read UTF-8, and a name must not stop the output.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        cli.main(prog_name="faceid")
    except OSError as error:  # of --help and --version, which click writes before there is a command
        if os.environ.get("FACEID_DEBUG"):
            raise
        click.echo(wrapped(f"Error: {plain_lines(_told(error))}"), err=True)
        sys.exit(1)
    except Exception as error:
        if os.environ.get("FACEID_DEBUG"):
            raise
        if isinstance(error, ImportError):  # of a library that is not there, or a package of ours that is hidden
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        click.echo(f"Error: unexpected {type(error).__name__}: {error} (FACEID_DEBUG=1 shows where)", err=True)
        sys.exit(1)
