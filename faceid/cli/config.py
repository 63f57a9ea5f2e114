"""Settings from faceid.toml: flags beat the environment, which beats the file, which beats the defaults."""

import os
import tomllib
from pathlib import Path
from typing import Any

import click

# What a setting is called in the file, where the commands' functions call it otherwise.
PARAMETERS = {"gallery": "gallery_path", "model": "model_name"}


def read_config() -> dict[str, Any]:
    """Return click's default map from ./faceid.toml, or else from the user's configuration folder.

    Raises click.UsageError when the file is not TOML.
    """
    path = next((path for path in _places() if path.is_file()), None)
    if path is None:
        return {}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: not a readable TOML file ({error})") from error
    return _DefaultMap(settings)


class _DefaultMap(dict[str, Any]):
    """A default map in which a command's own table lies over the settings at the top of the file."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__({PARAMETERS.get(name, name): value for name, value in settings.items()})

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key, {})
        if not isinstance(value, dict):
            return value
        shared = {name: setting for name, setting in self.items() if not isinstance(setting, dict)}
        return _DefaultMap(shared | value)


def _places() -> list[Path]:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path("faceid.toml"), home / "faceid" / "faceid.toml"]
