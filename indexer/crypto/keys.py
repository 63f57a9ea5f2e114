"""Where the key of an encrypted gallery comes from: a file, an environment variable, a command, the system's keyring.

A key is 32 random bytes, kept outside of the gallery: `openssl rand -hex 32`. It is written as 64 hexadecimal digits or
as base64. The gallery remembers its id, a digest that tells keys apart and nothing about them.
"""

import base64
import binascii
import codecs
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from indexer.errors import GalleryError, KeyMissing
from indexer.regular_file import open_regular

VARIABLE = "FACEID_KEY"
"""The environment variable that says where the key is, see `key_from`."""

TURN_VARIABLE = "FACEID_TURN_KEY"
"""The environment variable that says where the key is which turns a gallery's vectors."""

KEY_BYTES = 32

_LARGEST = 4096  # bytes of a key file that are read
_PATIENCE_SECONDS = 60  # for a command: a person may have to touch a token


class KeyProvider(Protocol):
    """Hands out keys; one of your own may ask a vault."""

    def key(self, gallery: Path, key_id: str | None) -> bytes:
        """Return the 32 bytes of the key with this id (None: for a new gallery, any).

        `gallery` is the folder that they are for. Raises KeyMissing, saying what to do.
        """
        ...


def key_from(text: str) -> KeyProvider:
    """Return what a text names: `file:PATH`, `env:NAME`, `command:COMMAND`, or `keyring:NAME`. Raises GalleryError."""
    kind, _, value = text.partition(":")
    providers: dict[str, Callable[[str], KeyProvider]] = {
        "file": KeyFile,
        "env": KeyVariable,
        "command": KeyCommand,
        "keyring": KeyringEntry,
    }
    if not value or kind not in providers:
        raise GalleryError(
            "a key is named as file:PATH, env:NAME, command:COMMAND or keyring:NAME, never written down itself; what"
            f" was given begins with none of these (`{VARIABLE}` or the option of the command)"
        )
    return providers[kind](value)


def usual_key() -> KeyProvider | None:
    """Return what the environment variable FACEID_KEY names; None where it is not set. Raises GalleryError."""
    return _named_by(VARIABLE)


def usual_turn_key() -> KeyProvider | None:
    """Return what the environment variable FACEID_TURN_KEY names; None where it is not set. Raises GalleryError."""
    return _named_by(TURN_VARIABLE)


def _named_by(variable: str) -> KeyProvider | None:
    text = os.environ.get(variable)
    return key_from(text) if text else None


@dataclass(frozen=True)
class KeyFile:
    """A file that only its owner may read."""

    path: str

    def key(self, gallery: Path, key_id: str | None) -> bytes:
        """See `KeyProvider`; a file that others may read, or one inside the gallery, is refused."""
        path = from_home(self.path)
        if lies_in(path, gallery):
            raise KeyMissing(f"the key file {path} lies in the gallery: whoever copies one has both; move it elsewhere")
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                if status.st_mode & 0o077:
                    raise KeyMissing(
                        f"the key file {path} may be read by others (mode {status.st_mode & 0o777:o}): chmod 600 {path}"
                    )
                content = file.read(_LARGEST)
        except OSError as error:
            raise KeyMissing(f"the key file {path} cannot be read: {error.strerror}") from error
        return _parsed(content, f"the key file {path}")


@dataclass(frozen=True)
class KeyVariable:
    """An environment variable; it shows in /proc and in reports of crashes: a file or a command is better."""

    name: str

    def key(self, gallery: Path, key_id: str | None) -> bytes:
        """See `KeyProvider`."""
        value = os.environ.get(self.name)
        if not value:
            raise KeyMissing(f"the environment variable {self.name}, which is to hold the gallery's key, is not set")
        return _parsed(os.fsencode(value), f"the environment variable {self.name}")


@dataclass(frozen=True)
class KeyCommand:
    """A command that writes the key to its standard output: a vault's client, a TPM's, a password store's.

    No shell reads it. The key's id is in its environment as FACEID_KEY_ID, empty for a new gallery.
    """

    command: str

    def key(self, gallery: Path, key_id: str | None) -> bytes:
        """See `KeyProvider`."""
        try:
            words = shlex.split(self.command)
            run = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=_PATIENCE_SECONDS,
                env={**os.environ, "FACEID_KEY_ID": key_id or ""},
                check=False,
            )
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
            raise KeyMissing(f"the command that is to print the gallery's key cannot be run: {error}") from error
        if run.returncode:
            raise KeyMissing(f"the command that is to print the gallery's key ended with exit code {run.returncode}")
        return _parsed(run.stdout[:_LARGEST], "what the key's command printed")


@dataclass(frozen=True)
class KeyringEntry:
    """An entry of the system's keyring, of the service `faceid`: `keyring set faceid NAME` writes one."""

    name: str

    def key(self, gallery: Path, key_id: str | None) -> bytes:
        """See `KeyProvider`."""
        require_encryption()
        import keyring
        from keyring.errors import KeyringError

        try:
            value = keyring.get_password("faceid", self.name)
        except KeyringError as error:
            raise KeyMissing(f"the system's keyring cannot be asked for the key {self.name!r}: {error}") from error
        if value is None:
            raise KeyMissing(
                f"the system's keyring has no key {self.name!r}: `keyring set faceid {self.name}` puts one there"
            )
        return _parsed(value.encode(), f"the entry {self.name!r} of the system's keyring")


def from_home(text: str) -> Path:
    """Return the path that a text means, `~` for a home folder; raises KeyMissing where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise KeyMissing(f"nobody here has the home folder of {text}: write the whole path") from error


def lies_in(path: Path, gallery: Path) -> bool:
    """Whether a path lies in a gallery's folder, wherever links lead, if only in circles."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(gallery))


def require_encryption() -> None:
    """Raise GalleryError where the libraries for encrypted galleries are not installed."""
    missing = [name for name in ("cryptography", "sqlcipher3", "keyring") if find_spec(name) is None]
    if missing:
        raise GalleryError(f"galleries with keys need {' and '.join(missing)}: pip install 'faceid-engine[encryption]'")


def _parsed(content: bytes, origin: str) -> bytes:
    """Return the key that was written as text; raises KeyMissing without a word of its content."""
    text = content.removeprefix(codecs.BOM_UTF8).strip()
    for decode in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True)):
        try:
            key = decode(text.decode("ascii"))
        except (ValueError, binascii.Error):
            continue
        if len(key) == KEY_BYTES:
            return key
    raise KeyMissing(f"{origin} holds no key: a key is {KEY_BYTES} bytes, as 64 hexadecimal digits or base64")
