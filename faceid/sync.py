"""Comparing a gallery with the folder it was enrolled from: which templates have lost their photo."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from faceid.results import Enrollment
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.text import counted, printable

_MOMENT = re.compile(r"#t=\d+\.\d{3}$")  # behind a clip's path, of a template that `enroll --video` made


def gone_photos(
    gallery: Gallery, people_dir: Path, results: Iterable[Enrollment], *, prune: bool
) -> Iterator[Enrollment]:
    """Pass on the results of enrolling a folder, then one `photo_gone` for each template whose photo it lacks.

    A photo that was moved or renamed within the folder is still there: its bytes tell. So is one that could not be read
    this time (or is a clip), and all of a folder that could not. With `prune` the templates are removed (`pruned`);
    removed templates can be restored. Raises GalleryError, and prunes nothing, where no photo at all that is enrolled
    lies in the folder.
    """
    present: set[int] = set()
    unread: set[Path] = set()
    for result in results:
        if result.template_id is not None:
            present.add(result.template_id)
        elif result.status == "failed":
            unread.add(_place(result.source))
        yield result
    folder = Path(printable(os.path.realpath(people_dir)))
    gone = [
        template
        for template in gallery.templates()
        if template.id not in present
        and template.source.startswith("/")
        and folder in (place := _place(_MOMENT.sub("", template.source))).parents
        and unread.isdisjoint([place, *place.parents])
    ]
    if prune and gone and not present:
        raise GalleryError(
            f"{printable(people_dir)} holds no photo that is enrolled, and"
            f" {counted(len(gone), 'template', 'templates')} came from there: is the disk mounted? Nothing was pruned;"
            " `gallery remove` hides people"
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


def _place(source: str) -> Path:
    """Return where a photo lies, however its folder was named when it was enrolled: by `..`, or by a link."""
    folder, name = os.path.split(source.replace("\0", "\\0"))  # which no file's name holds
    return Path(os.path.realpath(folder), name)
