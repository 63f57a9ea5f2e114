"""What another detector's alignment costs a network: LFW's pairs with the landmarks of MTCNN and of YuNet.

    python -m benchmarks.measurements.detector_cost LFW_FOLDER PAIRS.txt YUNET.onnx MODEL...

A network learns from crops that one detector aligned; an engine that aligns by another shows it crops that are shifted,
turned and scaled a little. The same photos, network and protocol, only the landmarks differ.
"""

from pathlib import Path

import click
import numpy as np

from benchmarks.protocols.lfw import Pairs, lfw, read_pairs
from faceid.engine import FaceEngine
from faceid.feature_set import FeatureSet, feature_set
from faceid.vision.detection import Detector
from faceid.vision.yunet import YuNetDetector


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("pairs_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("yunet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("models", nargs=-1, required=True)
def main(photos: Path, pairs_file: Path, yunet: Path, models: tuple[str, ...]) -> None:
    """Print the 10-fold accuracy of each model with each detector."""
    pairs = read_pairs(pairs_file)
    for model in models:
        engine = FaceEngine(model)
        detectors: dict[str, Detector] = {"MTCNN": engine.pipeline.detector, "YuNet": YuNetDetector(yunet)}
        for name, detector in detectors.items():
            engine.pipeline.detector = detector
            accuracy = lfw(embedded(engine, photos, pairs), pairs, model).accuracy[0]
            click.echo(f"{model}  {name}  {100 * accuracy.rate:.2f} +- {100 * accuracy.standard_error:.2f} %")


def embedded(engine: FaceEngine, photos: Path, pairs: Pairs) -> FeatureSet:
    """Embed the face nearest the middle of each photo of the pairs."""
    names = sorted(set(pairs.first + pairs.second))
    features = engine.embed([photos / f"{name}.jpg" for name in names], faces="centre")
    return feature_set(features.vectors, np.array(features.labels), np.array(features.paths), photos)


if __name__ == "__main__":
    main()
