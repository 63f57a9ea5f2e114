"""Where a gallery is: a folder, or a name in a PostgreSQL database."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from indexer.errors import GalleryError

SCHEMES = ("postgresql", "postgres")
_NAME = re.compile("[a-z0-9_][a-z0-9_-]{0,39}")
_URL = re.compile(rf"({'|'.join(SCHEMES)}):/")
_PASSWORD = re.compile("(://[^:@/?#]*):.*@", re.DOTALL)  # one with / in it ends where no URL's would
_SECRET = ("password", "sslpassword", "passfile")


@dataclass(frozen=True)
class PostgresPlace:
    """A gallery `name` in the database that libpq's `conninfo` (a URL) leads to; as text without passwords.

    `caches` is the folder of this machine's caches; None: the usual one.
    """

    conninfo: str = field(repr=False)
    name: str
    caches: Path | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `postgresql://USER@HOST:PORT/DATABASE/NAME`, with libpq's parameters after a `?`; raises GalleryError.

        What it does not say (user, password, host) libpq takes from its variables and files, as psql does.
        """
        parts = urlsplit(url)
        database, _, name = parts.path.strip("/").rpartition("/")
        name = unquote(name)
        if not database or "/" in database:
            raise GalleryError(
                f"{_shown(url)} names no gallery of a database; write"
                " postgresql://USER@HOST:PORT/DATABASE/NAME, where NAME is the gallery's"
            )
        if not _NAME.fullmatch(name):
            raise GalleryError(
                f"{name!r:.80} is no name for a gallery in a database: it has up to 40 of a-z, 0-9, _ and -,"
                " and begins with none of the last"
            )
        asked = f"?{parts.query}" if parts.query else ""
        return cls(f"postgresql://{parts.netloc}/{database}{asked}", name)

    @property
    def schema(self) -> str:
        """The database's schema that holds the gallery's tables."""
        return f"faceid_{self.name}"

    def __str__(self) -> str:
        address, mark, asked = _shown(self.conninfo).partition("?")
        return f"{address}/{self.name}{mark}{asked}"


Place = Path | PostgresPlace


def place_of(where: str | Path | PostgresPlace) -> Place:
    """Return the place that a text or a path means; raises GalleryError for a URL that names no gallery."""
    if isinstance(where, PostgresPlace):
        return where
    text = str(where)
    try:
        if found := _URL.match(text):
            return PostgresPlace.parse(_with_slashes(found[1], text[found.end() :]))
        if "://" in text and not isinstance(where, Path):
            raise GalleryError(f"{_shown(text)} is neither a folder nor postgresql://USER@HOST:PORT/DATABASE/NAME")
    except ValueError as error:  # whose words quote the password
        raise GalleryError(
            "the address of the gallery's database is none; in a user or a password, [ is written %5B, ] is %5D"
        ) from error
    return Path(where)


def _with_slashes(scheme: str, rest: str) -> str:
    """Return the URL; a path that was made of it has one slash left of two or three."""
    if not rest.startswith("/"):
        names_host = rest.partition("?")[0].strip("/").count("/") != 1
        rest = f"/{rest}" if names_host else f"//{rest}"
    return f"{scheme}:/{rest}"


def _shown(url: str) -> str:
    """Return a URL without its secrets, whatever signs are in them."""
    parts = urlsplit(_PASSWORD.sub(r"\1@", url))
    asked = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key not in _SECRET], safe="/")
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{asked}" if asked else "")
