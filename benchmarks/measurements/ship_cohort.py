"""The cohort that ships with a network: half A of LFW, from features that `faceid embed` made.

    python -m benchmarks.measurements.ship_cohort LFW.npz MODEL

Writes faceid/weights/MODEL.DIGEST.cohort.safetensors. `faceid models calibrate MODEL --photos DIR` does the same from
a folder of photos, into the user's directory. Half B of LFW never sets anything.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import faceid
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from faceid.models import model_zoo
from faceid.models.cohort_file import write_cohort
from faceid.vision.mtcnn import MtcnnDetector
from indexer.calibration.cohort import make_cohort
from indexer.calibration.own_scores import own_scores
from indexer.fusion import FUSIONS

DATA = "half A of LFW (people split by a hash of the name)"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("model")
    options = parser.parse_args()
    people = named(options.lfw)
    half = np.array([half_of(name) == "A" for name in people.labels.tolist()])
    vectors, labels = np.asarray(people.features)[half], people.labels[half].tolist()
    model = model_zoo.find_model(options.model)
    cohort = make_cohort(
        vectors,
        labels,
        model_digest=model.digest,
        data=DATA,
        date=datetime.now(UTC).date().isoformat(),
        detector=MtcnnDetector().digest,
        own_scores=own_scores(vectors, labels, FUSIONS),
    )
    shipped = Path(next(iter(faceid.__path__))) / "weights" / model_zoo.cohort_name(model)
    print(f"{write_cohort(shipped, cohort)}: {len(cohort.strangers):,} people, {len(cohort.rows):,} embeddings")


if __name__ == "__main__":
    main()
