"""Comparing a gallery with the folder it was enrolled from: which templates have lost their photo."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from faceid.results import Enrollment
from indexer.gallery import Gallery
from indexer.text import printable


def gone_photos(
    gallery: Gallery, people_dir: Path, results: Iterable[Enrollment], *, prune: bool
) -> Iterator[Enrollment]:
    """Pass on the results of enrolling a folder, then one `photo_gone` for each template whose photo it lacks.

    A photo that was moved or renamed within the folder is still there: its bytes tell. With `prune` the templates
    are removed (`pruned`); removed templates can be restored.
    """
    present: set[int] = set()
    for result in results:
        if result.template_id is not None:
            present.add(result.template_id)
        yield result
    folder = printable(people_dir.absolute()) + "/"
    gone = [
        template
        for template in gallery.templates()
        if template.source.startswith(folder) and template.id not in present
    ]
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
