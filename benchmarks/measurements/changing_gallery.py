"""A gallery that changes: thresholds and FPIR got after each of ten rounds, for the three ways to come by them.

    python -m benchmarks.measurements.changing_gallery LFW.npz --network NAME -o FOLDER

Half A's people are the cohort. Half B's people are enrolled; a part of them that never is sets the calibration
(`calibrate --strangers`, 600 people, at the start), another part counts (five photos a person at most). The rounds
enrol more photos, more people, remove, merge. Real galleries and the product's own functions, fusion by fusion.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, cohort_of, write
from benchmarks.measurements.drawn_galleries import PROBES_EACH, Pool, clustered, make_pool
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.calibration.calibration import calibrate_from_strangers
from indexer.calibration.cohort import Cohort
from indexer.calibration.self_measured import measure_with_cohort, measure_with_kept
from indexer.decision.carried import carried_threshold
from indexer.decision.decision import Calibration, Circumstances, Threshold, choose_threshold
from indexer.fusion import FUSIONS
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate

PEOPLE, SETTING = 120, 600
ASKED = (0.1, 0.01)


def main() -> None:
    """Write changing-NAME.csv and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lfw = named(options.lfw)
    cohort = replace(cohort_of(make_pool("half A", lfw, lambda name: half_of(name) == "A")), model_digest="c" * 64)
    pool = make_pool("half B", lfw, lambda name: half_of(name) == "B")
    rows = [row for fusion in FUSIONS for row in rounds(pool, cohort, fusion, options.network)]
    write(options.output / f"changing-{options.network}.csv", rows)
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def rounds(pool: Pool, cohort: Cohort, fusion: str, network: str) -> Iterator[Row]:
    """Yield a row for each round and rate."""
    random = np.random.default_rng(11)
    order = random.permutation(len(pool.people))
    several = [one for one in order if len(pool.people[one]) >= 6][:PEOPLE]
    rest = [one for one in order if one not in set(several)]
    setting, counting = rest[:SETTING], rest[SETTING:]
    strangers = pool.vectors[[pool.people[one][0] for one in setting]]
    probes = [pool.people[one][:PROBES_EACH] for one in counting]
    searched = pool.vectors[np.concatenate(probes)]
    who = np.repeat(np.arange(len(probes)), [len(rows) for rows in probes])
    with tempfile.TemporaryDirectory() as folder:
        bound = ModelBinding("measured", "c" * 64, pool.vectors.shape[1])
        with Gallery.create(Path(folder) / "g", bound, "max" if fusion == "max" else "mean") as gallery:
            steps = _steps(pool, gallery, several)
            next(steps)
            then = _calibrated(gallery, cohort, strangers)
            gallery.keep_strangers(strangers, np.arange(len(strangers)))
            for number, what in enumerate(chain(["as calibrated"], steps)):
                best = np.array([answer.candidates[0].similarity for answer in gallery.search(searched, 1)], np.float32)
                for asked in ASKED:
                    yield _row(gallery, cohort, then, asked, best, who) | {"round": number, "what": what}


def _steps(pool: Pool, gallery: Gallery, people: list[int]) -> Iterator[str]:
    """Change the gallery before each yield; say what was done."""

    def enrol(some: list[int], photos: slice) -> None:
        gallery.add([_template(pool, one, row) for one in some for row in pool.people[one][photos]])

    everybody = [f"{one}" for one in people]

    def at(place: int) -> int:
        return gallery.find(f"person {everybody[place]}")[0].id

    enrol(people[:24], slice(0, 1))
    yield "24 people, one photo each"
    enrol(people[:24], slice(1, 3))
    yield "two more photos of each"
    enrol(people[:24], slice(3, 20))
    yield "all photos of each, 20 at most"
    enrol(people[24:48], slice(0, 1))
    yield "24 more people, one photo"
    enrol(people[48:96], slice(0, 5))
    yield "48 more people, five photos"
    for place in range(0, 20):
        gallery.remove(at(place))
    yield "20 of the first removed"
    for place in range(24, 34):
        gallery.merge(at(place), at(place + 10))
    yield "10 pairs merged"
    enrol(people[96:], slice(0, 2))
    yield "24 more people, two photos"
    for place in range(0, 10):
        gallery.restore(at(place))
    yield "10 of the removed are back"
    for place in range(48, 72):
        gallery.remove(at(place))
    yield "24 of five photos removed"
    enrol(people[72:], slice(0, 12))
    yield "more photos of the rest, 12 at most"


def _row(gallery: Gallery, cohort: Cohort, then: Calibration, asked: float, best: np.ndarray, who: np.ndarray) -> Row:
    size = gallery.size
    now = gallery.ask_cohort(cohort.strangers, cohort.key).scores
    kept = gallery.kept_strangers()
    ways: dict[str, Callable[[], Threshold]] = {
        "cohort": lambda: choose_threshold([measure_with_cohort(gallery, cohort)], "fpir", asked, size, "gallery"),
        "carried along": lambda: carried_threshold(then, now, asked, size),
        "strangers kept": lambda: choose_threshold([measure_with_kept(gallery, kept)], "fpir", asked, size, "gallery"),
        "never adjusted": lambda: choose_threshold([then], "fpir", asked, then.gallery_size, "gallery"),
    }
    row: Row = {"round": 0, "what": "", "fusion": gallery.fusion, "N": size, "asked": asked}
    for way, choose in ways.items():
        threshold = choose()
        share, (low, high), _ = clustered(best >= np.float32(threshold.value), who)
        row |= {f"{way}: threshold": f"{threshold.value:.3f}", f"{way}: got": f"{share:.4f} [{low:.4f}, {high:.4f}]"}
    return row


def _calibrated(gallery: Gallery, cohort: Cohort, strangers: np.ndarray) -> Calibration:
    contents = gallery.contents()
    scores = gallery.ask_cohort(cohort.strangers, cohort.key).scores
    then = Circumstances(contents.digest, contents.templates, "", "largest", cohort.key, scores)
    return replace(calibrate_from_strangers(gallery, strangers, data="strangers"), circumstances=then)


def _template(pool: Pool, person: int, row: int) -> NewTemplate:
    digest = hashlib.sha256(str(row).encode()).digest()
    return NewTemplate(f"person {person}", None, pool.vectors[row], f"{row}", digest, None, None, None, "float32")


if __name__ == "__main__":
    main()
