"""Which fusion misses fewest people: FNIR at the threshold that the very strangers give, by photos a person.

    python -m benchmarks.measurements.fusion_compared LFW.npz FACES-003.npz [--quality FACES.tsv.gz] --network NAME -o D

Half B of LFW and of the validation faces. The threshold is the one at which exactly the asked share of the gallery's
own strangers alarms, so that no fusion gains by being measured badly. `--quality` is the list beside the packs: its
detector scores and face widths weigh the photos of the validation people in the *weighted mean*. Writes fnir-NAME.csv.
"""

import argparse
import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, write
from benchmarks.measurements.drawn_galleries import DrawnGallery, Pool, best_scores, draw, make_pool, score
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from faceid.feature_set import FeatureSet
from indexer.decision.decision import threshold_at

SIZES = (8, 24, 60, 100, 500)
TEMPLATES = (1, 2, 5, 20, None)
ASKED = (0.1, 0.01)
FUSIONS = ("max", "mean", "weighted mean", "best two", "spread", "mean of scores")
DRAWS = 12
_WIDE = 112  # pixels of a face beyond which more tell nothing: crops are as large


def main() -> None:
    """Write the cells and print a line for each source and number of photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--quality", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    validation = named(options.validation)
    weights = None if options.quality is None else quality(options.quality, validation)
    pools = [
        make_pool("LFW", named(options.lfw), lambda name: half_of(name) == "B"),
        make_pool("validation", validation, lambda name: half_of(name) == "B", weights),
    ]
    rows = list(cells(pools, options.network))
    write(options.output / f"fnir-{options.network}.csv", rows)
    print(tabulate(summary(rows), headers="keys", tablefmt="github", disable_numparse=True))


def quality(path: Path, features: FeatureSet) -> NDArray[np.float64]:
    """Return each photo's weight: detector score times the face's width, as far as the crop shows it."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        of_photo = {
            row["path"]: float(row["detector_score"]) * min(float(row["face_width_px"]), _WIDE) / _WIDE for row in rows
        }
    return np.array([of_photo[one] for one in features.paths.tolist()])


def cells(pools: Sequence[Pool], network: str) -> Iterator[Row]:
    """Yield a row for each source, number of photos, size and fusion."""
    for pool in pools:
        for templates in TEMPLATES:
            for size in SIZES:
                drawn = [
                    one
                    for number in range(DRAWS)
                    if (one := draw(pool, size, templates, np.random.default_rng([7, number, size]))) is not None
                ]
                drawn = [one for one in drawn if len(one.probes)]
                for fusion in FUSIONS if templates != 1 else ("max",):
                    if drawn and (fusion != "weighted mean" or pool.weights is not None):
                        yield _row(drawn, fusion, network, size, templates)


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return FNIR in % at both rates by source and photos, all sizes together, weighted by their searches."""
    found = []
    for source, photos in dict.fromkeys((row["people from"], row["photos"]) for row in rows):
        line: Row = {"network": rows[0]["network"], "people": source, "photos": photos}
        for fusion in FUSIONS:
            its = [
                one for one in rows if (one["people from"], one["photos"], one["fusion"]) == (source, photos, fusion)
            ]
            weights = [row["mated searches"] for row in its]
            line[fusion] = " / ".join(
                f"{100 * np.average([float(row[f'FNIR at FPIR {asked:g}']) for row in its], weights=weights):.2f}"
                for asked in ASKED
                if its
            )
        found.append(line)
    return found


def _row(galleries: Sequence[DrawnGallery], fusion: str, network: str, size: int, templates: int | None) -> Row:
    row: Row = {"network": network, "people from": galleries[0].pool.name, "N": size}
    row |= {"photos": "mixed" if templates is None else templates, "fusion": fusion}
    missed: dict[float, list[NDArray[np.bool_]]] = {asked: [] for asked in ASKED}
    for one in galleries:
        alarms = np.sort(best_scores(one, one.pool.vectors[one.strangers], fusion))[::-1]
        mated = score(one, one.pool.vectors[one.probes], fusion)
        own, right = mated[np.arange(len(mated)), one.probe_of], mated.argmax(axis=1) == one.probe_of
        for asked, found in missed.items():
            found.append(~(right & (own >= threshold_at(alarms, len(alarms), asked))))
    row |= {f"FNIR at FPIR {asked:g}": f"{np.concatenate(found).mean():.4f}" for asked, found in missed.items()}
    return row | {"mated searches": sum(len(one.probes) for one in galleries)}


if __name__ == "__main__":
    main()
