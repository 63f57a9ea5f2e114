"""One round of `throughput`, in the checkout that is on the path: prints what was done in a second, as JSON.

It uses nothing that older checkouts lack. Started as a file, not as a module: the package `benchmarks` is that
checkout's.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faceid import FaceEngine, Gallery, photos_in, photos_of_people, user_threshold
from indexer.records import ModelBinding, NewTemplate

DIMENSION, AT_ONCE = 128, 5_000
ONE_BY_ONE, TOGETHER, TIMES = 200, 256, 8


def main() -> None:
    """Measure each thing once, after a little of it to warm up."""
    people, work, templates = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    work.mkdir()
    print(json.dumps({**_of_photos(people, work), **_of_vectors(work, templates)}))


def _of_photos(people: Path, work: Path) -> dict[str, float]:
    engine = FaceEngine()
    photos = list(photos_of_people(people))
    shown = list(photos_in([photo.path for photo in photos[:ONE_BY_ONE:4]]))
    threshold = user_threshold(0.5)
    with Gallery.create(work / "warm", engine.binding, "max") as gallery:
        list(engine.enroll(gallery, photos[:8], faces="largest"))
    with Gallery.create(work / "people", engine.binding, "max") as gallery:
        enrolled = _rate(len(photos), lambda: list(engine.enroll(gallery, photos, faces="largest")))
        list(engine.identify(gallery, shown[:1], threshold))
        together = _rate(len(shown), lambda: list(engine.identify(gallery, shown, threshold)))
        single = _rate(len(shown), lambda: [list(engine.identify(gallery, [one], threshold)) for one in shown])
    return {
        "photos enrolled": enrolled,
        "photos identified, in one call": together,
        "photos identified, one a call": single,
    }


def _of_vectors(work: Path, templates: int) -> dict[str, float]:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((templates, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noise = rng.normal(0, 0.02, (TIMES * TOGETHER, DIMENSION)).astype(np.float32)
    asked = vectors[rng.integers(0, templates, len(noise))] + noise
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    rows = [_template(f"{number}", vector) for number, vector in enumerate(vectors)]
    with Gallery.create(work / "vectors", ModelBinding("random", "0" * 64, DIMENSION), "max") as gallery:

        def fill() -> None:
            for start in range(0, templates, AT_ONCE):
                gallery.add(rows[start : start + AT_ONCE])

        added = _rate(templates, fill)
        gallery.search(asked[:2], 5)
        gallery.search(asked[:1], 5)
        single = _rate(ONE_BY_ONE, lambda: [gallery.search(one[None], 5) for one in asked[:ONE_BY_ONE]])
        batches = np.split(asked, TIMES)
        together = _rate(len(asked), lambda: [gallery.search(batch, 5) for batch in batches])
    return {
        "templates added, 5,000 a call": added,
        "vectors searched, one a call": single,
        "vectors searched, 256 a call": together,
    }


def _rate(count: int, act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    act()
    return count / (time.perf_counter() - begun)


def _template(source: str, vector: Any) -> NewTemplate:
    digest = hashlib.sha256(source.encode()).digest()
    return NewTemplate(f"person {source}", None, vector, source, digest, None, None, None, "float32")


if __name__ == "__main__":
    main()
