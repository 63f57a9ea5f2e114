"""What a benchmark is given becomes features: a feature file is read, a folder of photos is embedded (and kept)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.inputs.shards import read_shards, shard_files
from faceid.feature_file import read_features
from faceid.feature_set import FeatureError, FeatureSet, feature_set
from faceid.vision.photo_list import PersonPhoto, photos_in, photos_of_people
from indexer.text import counted, printable

if TYPE_CHECKING:  # it loads the networks, which feature files do not need
    from benchmarks.inputs.embed_photos import PhotoCounts
    from faceid.engine import FaceEngine
    from faceid.vision.detection import FacePolicy
    from faceid.workers.crew import Crew


@dataclass(frozen=True)
class Embedding:
    """How photos become features: the engine (made when photos come), which face counts, aligned crops or photos.

    `watch` is what the photos pass through on their way, such as a progress bar; `crew` starts the engine's workers
    for the time of a block (None: there are none).
    """

    engine: "Callable[[], FaceEngine]"
    faces: "FacePolicy"
    aligned: bool
    watch: Callable[[Iterable[PersonPhoto]], Iterable[PersonPhoto]] = iter
    crew: "Callable[[], AbstractContextManager[Crew | None]]" = nullcontext


def labelled_features(path: Path, kept: Path, embedding: Embedding) -> FeatureSet:
    """Return the features of people: a feature file as it is, or a folder with a folder of photos for each person.

    The features of photos are kept in the file `kept`, so that another run finds them. Raises FeatureError for a file
    that cannot be read, and where nobody is named in it.
    """
    features = read_features(path) if path.is_file() else _embedded(path, photos_of_people(path), kept, embedding)
    if not np.any(features.labels != ""):
        raise FeatureError(
            f"{printable(path)}: nobody is named in it; labels come from a folder for each person:"
            " `faceid embed --labels` writes them"
        )
    return features


def photo_features(path: Path, kept: Path, embedding: Embedding) -> FeatureSet:
    """Return the features of photos, whoever is on them: a feature file as it is, or the photos in a folder, any depth.

    A folder in which feature files lie (`benchmarks.inputs.shards`) is all of them, one after the other. Distractors
    need no names, and neither do photos that a protocol's list knows by their paths.
    """
    if path.is_file():
        return read_features(path)
    # What an earlier run kept there is no crowd: the photos may have changed since, or the model that is asked for.
    ours = kept.resolve() if kept.with_name(f"{kept.name}.progress").exists() else None
    if shards := [file for file in shard_files(path) if file.resolve() != ours]:
        return read_shards(shards, path)
    photos = (PersonPhoto(photo, "") for photo in photos_in(path))
    return _embedded(path, photos, kept, embedding)


def people_of_many_and_of_one(features: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
    """Split photos of people: those of people with two or more are probes, the others (and unnamed ones) distractors.

    Raises FeatureError where one of the two is empty.
    """
    _, person, photos = np.unique(features.labels, return_inverse=True, return_counts=True)
    probes = (photos[person] > 1) & (features.labels != "")
    if probes.all() or not probes.any():
        missing = "one photo" if probes.all() else "two photos"
        raise FeatureError(f"{features.source}: no person with {missing}; give distractors of their own")
    return _rows(features, probes), _rows(features, ~probes)


def embed_into(file: Path, photos: Iterable[PersonPhoto], embedding: Embedding) -> "PhotoCounts":
    """Embed photos into a feature file, as the command line asks for it; what it holds already is not done again."""
    from benchmarks.inputs.embed_photos import embed_photos

    with embedding.crew() as crew:
        return embed_photos(
            embedding.engine(),
            embedding.watch(photos),
            file,
            faces=embedding.faces,
            aligned=embedding.aligned,
            crew=crew,
        )


def _embedded(path: Path, photos: Iterable[PersonPhoto], kept: Path, embedding: Embedding) -> FeatureSet:
    done = embed_into(kept, photos, embedding)
    features = read_features(kept)
    if not done.failed:
        return features
    without = counted(done.failed, "photo", "photos")
    note = f"{printable(path.name)}: {without} gave no feature; {kept.name}.failed.csv says why"
    return replace(features, notes=(*features.notes, note))


def _rows(features: FeatureSet, mask: np.ndarray) -> FeatureSet:
    chosen = feature_set(features.features[mask], features.labels[mask], features.paths[mask], Path(features.source))
    return replace(chosen, notes=features.notes, model=features.model)
