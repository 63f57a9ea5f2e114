"""Settings from faceid.toml: flags beat the environment, which beats the file, which beats the defaults."""

import math
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from indexer.regular_file import read_regular

# Bytes of a settings file: hundreds of lines. tomllib takes the square of a key's length, at 32 KiB some seconds.
_LARGEST = 32 << 10
# Thresholds and rates decide who is let in: never from a settings file that happens to lie in the current folder.
DECISIVE = ("threshold", "fpir", "far", "wcmmpmr")


@dataclass(frozen=True)
class Settings:
    """The content of a settings file; `here` for the one in the current folder."""

    path: Path
    here: bool
    values: dict[str, Any]

    def of(self, name: str, command: click.Command) -> dict[str, Any]:
        """Return click's default map for a command: what stands at the top, and over it the command's own table.

        Raises click.UsageError for a name that the command (or, at the top, no command) knows.
        """
        if getattr(command, "own_table", False):
            return {}  # its table holds no options; the command reads it itself
        shared = {key: value for key, value in self.values.items() if not isinstance(value, dict)}
        for key, value in shared.items():
            if _plain(key) not in SHARED:
                self._refuse(key, f"is no setting that commands share ({', '.join(sorted(SHARED))}); {_TABLE}")
            self._check_place(key, value)
        # `gallery` is a setting and a command: only a table is the command's.
        own = self.values.get(name)
        table = own if isinstance(own, dict) else {}
        return self._table(name, command, shared, table)

    def own_table(self, name: str, shared: Sequence[str]) -> dict[str, Any]:
        """Return a table as it stands, over those of the `shared` settings that stand at the top of the file.

        Raises click.UsageError for one that decides who is let in, in the current folder's file.
        """
        table = self.values.get(name, {})
        values = {key: value for key, value in self.values.items() if _plain(key) in shared} | table
        for key, value in values.items():
            self._check_place(key, value)
        return {_plain(key): value for key, value in values.items()}

    def check_tables(self, commands: list[str]) -> None:
        """Raise click.UsageError for a table that bears no command's name."""
        for key, value in self.values.items():
            if isinstance(value, dict) and key not in commands:
                self._refuse(f"[{key}]", "is no command")

    def _table(
        self, name: str, command: click.Command, shared: dict[str, Any], table: dict[str, Any]
    ) -> dict[str, Any]:
        if isinstance(command, click.Group):
            own = {key: value for key, value in table.items() if not isinstance(value, dict)}
            for key in table.keys() - own.keys() - command.commands.keys():
                self._refuse(f"[{name}.{key}]", "is no command")
            known = {option for sub in command.commands.values() for option in _options(sub)}
            for key in own:
                if _plain(key) not in known:
                    self._refuse(f"{key} in [{name}]", "is no option of its commands")
            return {
                sub: self._table(f"{name}.{sub}", inner, _fitting(shared | own, inner), table.get(sub, {}))
                for sub, inner in command.commands.items()
            }
        options = _options(command)
        for key in table:
            if _plain(key) not in options:
                self._refuse(f"{key} in [{name}]", f"is no option of `faceid {name.replace('.', ' ')}`")
            self._check_place(key, table[key])
        chosen = {_plain(key): value for key, value in (_fitting(shared, command) | table).items()}
        for key, value in chosen.items():
            several = isinstance(value, list) and (options[key].multiple or options[key].nargs != 1)
            if not all(_is_value(options[key], one) for one in (value if several else [value])):
                self._refuse(f"{key} = {value!r:.60}", "is no value of that option")
        return {str(options[key].name): _value(options[key], value) for key, value in chosen.items()}

    def _check_place(self, key: str, value: object) -> None:
        if self.here and _plain(key) in DECISIVE:
            self._refuse(
                f"{key} = {value!r}",
                "decides who is let in, and is not taken from the current folder: "
                f"set it in {_own_place()}, or give --{key}",
            )

    def _refuse(self, what: str, why: str) -> None:
        raise click.UsageError(f"{self.path}: {what} {why}")


_TABLE = "a command's own options stand in its table, as [identify]"
# Settings that may stand at the top of the file: options that several commands have.
SHARED = {
    "backend", "detector", "detector_weights", "device", "faces", "far", "fpir", "gallery", "min_face_size", "model",
    "precision", "quality", "threshold",
}  # fmt: skip


def read_settings() -> Settings | None:
    """Read ./faceid.toml, or else the one in the user's configuration folder.

    Raises click.UsageError when the file is not TOML.
    """
    for path, here in ((Path("faceid.toml"), True), (_own_place(), False)):
        try:
            return settings_in(path, here=here)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


def settings_in(path: Path, *, here: bool) -> Settings:
    """Read a settings file, `~` in its paths as the home folder; `here`: the one in the current folder.

    Raises click.UsageError when it is not TOML, and FileNotFoundError or NotADirectoryError when there is none.
    """
    try:
        values = tomllib.loads(read_regular(path, _LARGEST).decode("utf-8-sig"))
        _check_plain("", values)
        return Settings(path.absolute(), here, _at_home(values))
    except (FileNotFoundError, NotADirectoryError):
        raise
    # ValueError: neither UTF-8 nor TOML; RecursionError: brackets without end.
    except (OSError, ValueError, RecursionError) as error:
        raise click.UsageError(f"{path}: not a readable TOML file ({error})") from error


def file_of(ctx: click.Context, parameter: str) -> Path | None:
    """Return the settings file that a parameter of the running command was taken from; None for none."""
    settings = ctx.find_root().meta.get("faceid.settings")
    return settings.path if settings and is_from_file(ctx, parameter) else None


def is_from_file(ctx: click.Context, parameter: str) -> bool:
    """Say whether a parameter of the running command was taken from the settings file."""
    return ctx.get_parameter_source(parameter) is click.core.ParameterSource.DEFAULT_MAP


def one_of(ctx: click.Context, **given: float | None) -> tuple[float | None, ...]:
    """Return the values of options that exclude each other; one that was typed beats the settings file's other.

    Raises click.UsageError where it is not clear which one counts.
    """
    there = [name for name, value in given.items() if value is not None]
    counting = [name for name in there if len(there) == 1 or not is_from_file(ctx, name)]
    if len(there) > 1 and len(counting) != 1:
        raise click.UsageError(f"give {' or '.join(f'--{name}' for name in given)}, not both")
    return tuple(value if name in counting else None for name, value in given.items())


def _check_plain(key: str, value: object) -> None:
    """Raise ValueError for what no option takes: numbers not finite or too large, texts empty or with a NUL."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_plain(f"{key}.{name}" if key else name, inner)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(key, inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} = {value} is not a finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:  # TOML has 64 bits
        raise ValueError(f"{key} is too large a number")
    elif isinstance(value, str) and "\0" in value:
        raise ValueError(f"{key} has a NUL in it")
    elif value == "":  # a path that is empty means the current folder
        raise ValueError(f"{key} is empty; leave it out")


def _own_place() -> Path:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or at_home("~/.config"))
    return home / "faceid" / "faceid.toml"


def at_home(text: str) -> str:
    """Return a path that begins with `~/` as a shell writes it, and any other text as it is."""
    return str(Path(text).expanduser()) if text == "~" or text.startswith("~/") else text


def _at_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _at_home(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_at_home(one) for one in value]
    return at_home(value) if isinstance(value, str) else value


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set, by the name that is typed; not the answer to a question (`--yes`)."""
    return {
        _plain(name): option
        for option in command.params
        if isinstance(option, click.Option) and option.prompt is None
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--") and not name.startswith("--no-")
    }


def _fitting(settings: dict[str, Any], command: click.Command) -> dict[str, Any]:
    if isinstance(command, click.Group):
        return settings
    options = _options(command)
    return {key: value for key, value in settings.items() if _plain(key) in options}


def _is_value(option: click.Option, value: object) -> bool:
    return isinstance(value, str | int | float) and (option.is_flag or not isinstance(value, bool))


def _value(option: click.Option, value: Any) -> Any:
    if isinstance(value, list):
        return [_value(option, one) for one in value]
    # `bgr = true` chooses what the flag `--bgr` stands for.
    if option.is_flag and not option.is_bool_flag and value is True:
        return option.flag_value
    # Others as if they were typed: click makes 2 of the number 2.7, and falls over 5 in the place of a path.
    return value if isinstance(value, bool) else str(value)


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_")
