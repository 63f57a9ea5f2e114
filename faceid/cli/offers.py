"""What a shell offers when Tab is pressed: the people of the gallery, and the models at hand."""

from collections import Counter
from pathlib import Path

import click

from faceid.cli.config import at_home

MOST_BYTES = 64 << 20  # of a gallery whose people are listed within a moment


def people(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return how people of the gallery can be named: by name, or where several bear it by external id or id."""
    from indexer.errors import FaceIdError
    from indexer.gallery import Gallery
    from indexer.store.place import place_of
    from indexer.store.sqlite_store import DATABASE

    try:
        place = place_of(ctx.params.get("gallery_path") or _gallery_by_default(ctx))
        folder = Path(at_home(str(place)))  # a shell hands the line on as it is typed
        if not isinstance(place, Path) or (folder / DATABASE).stat().st_size > MOST_BYTES:
            return []  # a shell that waits for a server is worse than one that offers nothing
        with Gallery.open(folder) as opened:
            everybody = opened.identities(include_removed=True)
    except (FaceIdError, OSError):  # nothing to offer, and no place to say why
        return []
    bearers = Counter(one.name for one in everybody)
    offered = [one.name if bearers[one.name] == 1 else one.external_id or str(one.id) for one in everybody]
    return [one for one in offered if one.startswith(incomplete)]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the models at hand."""
    from faceid.models.model_zoo import list_models
    from indexer.errors import FaceIdError

    try:
        return [listed.name for listed in list_models() if listed.name.startswith(incomplete)]
    except (FaceIdError, OSError):
        return []


def _gallery_by_default(ctx: click.Context) -> str:
    (option,) = (one for one in ctx.command.params if one.name == "gallery_path")
    return str(option.value_from_envvar(ctx) or option.get_default(ctx))
