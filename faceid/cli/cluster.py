"""`faceid cluster`: photos of people without names into people.  In Python: `faceid.clustering`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli.options import RATE, SIMILARITY, GalleryPlace, engine_options, output_option
from faceid.cli.output import progress, say, write_records
from faceid.cli.photos import photos_arguments, pictures
from indexer.store.place import Place
from indexer.text import counted

if TYPE_CHECKING:
    from faceid.clustering import SortedFace
    from faceid.engine import FaceEngine
    from indexer.decision.decision import Threshold

# The names of a record, which a CSV without any has, too.
_COLUMNS = ("source", "box", "status", "person", "name", "similarity")


@click.command(epilog="Example: faceid cluster archive -o sorted --gallery staff")
@photos_arguments
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where it goes."
)
@click.option(
    "--gallery",
    "gallery_path",
    type=GalleryPlace(exists=True),
    help="People who are known: their faces are told first.",
)
@click.option("--fpir", type=RATE, default=0.01, show_default=True, help="Of strangers taken for somebody known.")
@click.option("--far", type=RATE, default=1e-5, show_default=True, help="Of pairs of two people that count as near.")
@click.option(
    "--threshold", "near", type=SIMILARITY, help="Similarity from which two faces are near, instead of --far."
)
@click.option("--quality/--no-quality", default=True, show_default=True, help="Keep faces apart that are too poor.")
@click.option(
    "--names",
    "names_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with columns person,name, as the page saves it.",
)
@click.option("--copies", is_flag=True, help="Copy photos into the people's folders instead of linking them.")
@engine_options
@output_option
@click.pass_context
def cluster(
    ctx: click.Context,
    /,
    photos: tuple[Path, ...],
    list_file: Path | None,
    folder: Path,
    gallery_path: Place | None,
    fpir: float,
    far: float,
    near: float | None,
    quality: bool,
    names_file: Path | None,
    copies: bool,
    output: str | None,
    **engine_settings: Any,
) -> None:
    """Sort the faces on PHOTOS into people, without names; those whom a gallery knows come first.

    Run it again with further photos: people keep their numbers. FOLDER/index.html is a page to look through and name.
    """
    from contextlib import ExitStack

    from faceid.cli.session import make_engine, open_with_engine
    from faceid.clustering import add_photos, read_faces, read_names, sort_faces, write_faces, write_folder
    from faceid.thresholds import identification_threshold
    from faceid.vision.quality import Limits

    names = {} if names_file is None else read_names(names_file)
    with ExitStack() as stack:
        if gallery_path is None:
            engine, gallery = make_engine(**engine_settings), None
        else:
            engine, gallery = stack.enter_context(open_with_engine(gallery_path, **engine_settings))

        def known() -> "Threshold | None":
            if gallery is None:
                return None
            return identification_threshold(engine.model, gallery, fpir, detector=engine.detector_digest)

        known()  # what cannot be is told before the hours that photos take, in which the gallery may change
        folder.mkdir(parents=True, exist_ok=True)
        faces = read_faces(folder, engine.model.digest, _near(engine, far, near))
        failures: Counter[str] = Counter()

        def failed(source: str, reason: str) -> None:
            failures[reason] += 1
            say(f"{source}: {reason}")

        if photos or list_file is not None or not len(faces.vectors):
            new = progress(pictures(photos, list_file, folder), "photos")
            faces = add_photos(engine, new, faces, failed, Limits() if quality else None)
            write_faces(folder, faces)
        placed = sort_faces(faces, names, gallery, known())
        gone = write_folder(folder, faces, placed, copies=copies)
        write_records(placed, output, lambda one: one.record(), _row, columns=_COLUMNS)
        for person in sorted(names.keys() - {one.person for one in placed}):
            say(f"{names_file}: nobody is {person}; {names[person]} is left out")
        if gone:
            missing = counted(len(gone), "photo is", "photos are")
            say(f"{missing} gone and left out, such as {gone[0]}; say where they are")
        _tell(placed, folder)
    ctx.exit(3 if failures else 0)


def _near(engine: "FaceEngine", far: float, near: float | None) -> float:
    from faceid.thresholds import verification_threshold

    return near if near is not None else verification_threshold(engine.model, None, far).value


def _tell(placed: "list[SortedFace]", folder: Path) -> None:
    from faceid.cluster_page import write_cluster_page
    from faceid.clustering import MANIFEST, counts_of

    for status, faces, people in counts_of(placed):
        whom = f" of {counted(people, 'person', 'people')}" if people else ""
        say(f"{status}: {counted(faces, 'face', 'faces')}{whom}")
    say(f"for `faceid enroll --faces largest --manifest`: {(folder / MANIFEST).absolute()}")
    try:
        say(f"page: {write_cluster_page(placed, folder).absolute()}")
    except ModuleNotFoundError as error:
        say(f"no page: it needs {error.name}; pip install 'faceid-engine[report]'")


def _row(one: "SortedFace") -> dict[str, object]:
    return {
        "status": one.status,
        "person": one.person,
        "name": one.name,
        "similarity": one.similarity,
        "photo": one.source,
    }
