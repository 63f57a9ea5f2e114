"""Whether the probability beside an answer is what it says: ECE and Brier score on held-out people, by gallery size.

    python -m benchmarks.measurements.probability_held_out LFW.npz FACES-003.npz --network NAME -o FOLDER

Half A of LFW sets (the cohort and the law of mated scores); half B of LFW and of the validation faces report. Mated and
non-mated searches weigh the same, as the probability is one at even odds. ECE in ten bins of equal width.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, cohort_of, write
from benchmarks.measurements.drawn_galleries import DrawnGallery, draw, make_pool
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.calibration.cohort import Cohort
from indexer.calibration.own_scores import own_scores
from indexer.calibration.self_measured import probability_with_cohort
from indexer.decision.match_probability import match_probability
from indexer.fusion import FUSIONS, Fusion
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate

SIZES = (8, 24, 100, 500)
BINS = 10


def main() -> None:
    """Write probability-NAME.csv and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lfw, validation = named(options.lfw), named(options.validation)
    half_a = make_pool("half A", lfw, lambda name: half_of(name) == "A")
    rows = np.concatenate(half_a.people)
    labels = np.repeat(np.arange(len(half_a.people)), [len(photos) for photos in half_a.people]).astype(str).tolist()
    laws = own_scores(half_a.vectors[rows], labels, FUSIONS)
    cohort = replace(cohort_of(half_a), model_digest="c" * 64, own_scores=laws)
    found = []
    for name, features in (("LFW", lfw), ("validation", validation)):
        pool = make_pool(name, features, lambda person: half_of(person) == "B")
        for size in SIZES:
            for templates in (1, 5, None):
                for fusion in FUSIONS:
                    drawn = [draw(pool, size, templates, np.random.default_rng([3, one, size])) for one in range(4)]
                    galleries = [one for one in drawn if one is not None and len(one.probes)]
                    if galleries:
                        photos = "mixed" if templates is None else templates
                        about = {
                            "network": options.network,
                            "people": name,
                            "N": size,
                            "photos": photos,
                            "fusion": fusion,
                        }
                        found.append(about | _held_out(galleries, cohort, fusion))
    write(options.output / f"probability-{options.network}.csv", found)
    print(tabulate(found, headers="keys", tablefmt="github", disable_numparse=True))


def _held_out(galleries: list[DrawnGallery], cohort: Cohort, fusion: Fusion) -> Row:
    parts = [list(_told(drawn, cohort, fusion)) for drawn in galleries]
    told, right, weight = (np.concatenate([part[place] for part in parts]) for place in range(3))
    bins = np.minimum((told * BINS).astype(int), BINS - 1)
    gaps = [abs(float(weight[bins == one] @ (told[bins == one] - right[bins == one]))) for one in range(BINS)]
    return {
        "ECE": f"{sum(gaps) / weight.sum():.3f}",
        "Brier": f"{float(weight @ np.square(told - right)) / weight.sum():.4f}",
        "mated searches": sum(len(one.probes) for one in galleries),
        "strangers' searches": sum(len(one.strangers) for one in galleries),
    }


def _told(drawn: DrawnGallery, cohort: Cohort, fusion: Fusion) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities that the gallery tells, whether each was right, and the weight of each search."""
    with tempfile.TemporaryDirectory() as folder:
        bound = ModelBinding("measured", "c" * 64, drawn.pool.vectors.shape[1])
        with Gallery.create(Path(folder) / "g", bound, fusion) as gallery:
            owners = np.searchsorted(drawn.starts, np.arange(len(drawn.enrolled)), side="right") - 1
            gallery.add([_template(drawn, row, owner) for row, owner in zip(drawn.enrolled, owners, strict=True)])
            law = probability_with_cohort(gallery, cohort)
            assert law is not None
            told, right = [], []
            names = [*(f"person {one}" for one in drawn.probe_of), *([""] * len(drawn.strangers))]
            vectors = drawn.pool.vectors[np.concatenate([drawn.probes, drawn.strangers])]
            for name, answer in zip(names, gallery.search(vectors, 1), strict=True):
                told.append(match_probability(law, answer.candidates[0].similarity, 0.0))
                right.append(float(answer.candidates[0].name == name))
    mated = np.arange(len(names)) < len(drawn.probes)
    yield np.array(told)
    yield np.array(right)
    yield np.where(mated, 0.5 / len(drawn.probes), 0.5 / len(drawn.strangers))


def _template(drawn: DrawnGallery, row: int, owner: int) -> NewTemplate:
    digest = hashlib.sha256(str(row).encode()).digest()
    return NewTemplate(f"person {owner}", None, drawn.pool.vectors[row], f"{row}", digest, None, None, None, "float32")


if __name__ == "__main__":
    main()
