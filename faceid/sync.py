"""Comparing a gallery with the folder it was enrolled from: which templates have lost their photo."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from faceid.results import Enrollment
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.text import counted, printable


def gone_photos(
    gallery: Gallery, people_dir: Path, results: Iterable[Enrollment], *, prune: bool
) -> Iterator[Enrollment]:
    """Pass on the results of enrolling a folder, then one `photo_gone` for each template whose photo it lacks.

    A photo that was moved or renamed within the folder is still there: its bytes tell. So is one that could not be read
    this time, and all of a folder that could not. With `prune` the templates are removed (`pruned`); removed templates
    can be restored. Raises GalleryError, and prunes nothing, where the folder holds no photo at all.
    """
    present: set[int] = set()
    unread: set[str] = set()
    empty = True
    for result in results:
        empty = False
        if result.template_id is not None:
            present.add(result.template_id)
        elif result.status == "failed":
            unread.add(printable(Path(result.source).absolute()))
        yield result
    folder = printable(people_dir.absolute()) + "/"
    gone = [
        template
        for template in gallery.templates()
        if template.source.startswith(folder)
        and template.id not in present
        and unread.isdisjoint([template.source, *map(str, Path(template.source).parents)])
    ]
    if prune and gone and empty:
        raise GalleryError(
            f"{printable(people_dir)} holds no photo, and {counted(len(gone), 'template', 'templates')} came from"
            " there: is the disk mounted? Nothing was pruned; `gallery remove` hides people"
        )
    if prune:
        gallery.remove_templates([template.id for template in gone])
    for template in gone:
        yield Enrollment(
            template.source,
            template.name,
            "pruned" if prune else "photo_gone",
            (),
            template.id,
            None,
            template.external_id,
        )
