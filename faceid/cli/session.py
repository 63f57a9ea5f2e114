"""What a command needs to begin: an engine and a gallery that fit together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceid.cli.output import say
from faceid.engine import FaceEngine
from faceid.workers.crew import Crew
from faceid.workers.processes import process_crew
from indexer.crypto.keys import KeyProvider, usual_key
from indexer.decided_on import DEFAULT_DECIDED_ON
from indexer.errors import GalleryError
from indexer.fusion import DEFAULT_FUSION, Fusion
from indexer.gallery import Gallery
from indexer.store.place import Place
from indexer.store.stores import has_store
from indexer.store.transfer import read_export


def make_engine(model_name: str | None = None, **settings: Any) -> FaceEngine:
    """Make an engine from the options of a command."""
    return FaceEngine(model_name, **settings)


@contextmanager
def open_with_engine(
    gallery_path: Place, *, writable: bool = False, model_name: str | None = None, **settings: Any
) -> Iterator[tuple[FaceEngine, Gallery]]:
    """Open a gallery, with the model it is bound to or the one that was named."""
    with Gallery.open(gallery_path, writable=writable) as gallery:
        yield make_engine(model_name or gallery.model.name, **settings), gallery


@contextmanager
def open_to_enroll(
    gallery_path: Place, *, fusion: Fusion | None, model_name: str | None = None, **settings: Any
) -> Iterator[tuple[FaceEngine, Gallery]]:
    """Open a gallery to write, or make one where there is none.

    Raises GalleryError if another `fusion` is asked for than an existing gallery's.
    """
    if has_gallery(gallery_path):
        with open_with_engine(gallery_path, writable=True, model_name=model_name, **settings) as (engine, gallery):
            if fusion not in (None, gallery.fusion):
                raise GalleryError(
                    f"{gallery_path} scores people by {gallery.fusion}; `faceid gallery set fusion {fusion}` changes it"
                )
            yield engine, gallery
    else:
        engine = make_engine(model_name, **settings)
        with Gallery.create(gallery_path, engine.binding, fusion=fusion or DEFAULT_FUSION) as gallery:
            yield engine, gallery


@contextmanager
def open_to_import(gallery_path: Place, file: Path, source_key: KeyProvider | None) -> Iterator[Gallery]:
    """Open a gallery to write, or make one bound to the model of an exported file, that decides as its gallery did."""
    if has_gallery(gallery_path):
        opened = Gallery.open(gallery_path, writable=True)
    else:
        content = read_export(file, source_key or usual_key())
        opened = Gallery.create(gallery_path, content.model, content.fusion or DEFAULT_FUSION)
        opened.set_decided_on(content.decided_on or DEFAULT_DECIDED_ON)
    with opened as gallery:
        yield gallery


@contextmanager
def gallery_of(engine: FaceEngine, gallery_path: Place) -> Iterator[Gallery | None]:
    """Open the gallery to read if there is one and it is bound to the engine's model; None otherwise."""
    if not has_gallery(gallery_path):
        yield None
        return
    with Gallery.open(gallery_path) as gallery:
        yield gallery if gallery.model.digest == engine.model.digest else None


@contextmanager
def crew_of(engine: FaceEngine, workers: int | None, ray_address: str | None) -> Iterator[Crew | None]:
    """Give the engine the workers that were asked for; None where there are none, and this process does it all."""
    with crew_making(engine.twin, workers, ray_address, gpu_each=engine.device.startswith("cuda")) as crew:
        yield crew


@contextmanager
def crew_making(
    make: Callable[[], object], workers: int | None, ray_address: str | None, *, gpu_each: bool = False
) -> Iterator[Crew | None]:
    """Start the workers that were asked for, each with a tool that it makes; None where there are none."""
    if ray_address is not None:
        from faceid.workers.ray_actors import ray_crew

        with ray_crew(ray_address, make, workers, say, gpu_each=gpu_each) as crew:
            yield crew
    elif workers is not None:
        with process_crew(make, workers, say) as crew:
            yield crew
    else:
        yield None


def has_gallery(path: Place) -> bool:
    """Say whether there is a gallery at this place."""
    return has_store(path)
