"""Opens training faces by what the paths are: folders of people, .rec files, tar shards, or tar packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceid.vision.photo_list import beside_photos
from training.config import DataConfig
from training.data.faces import FaceSource, leave_out, read_names, with_photos
from training.data.folder import open_folders
from training.data.joined import Joined
from training.data.pack import read_packs
from training.data.recordio import open_records
from training.data.shards import is_shard, open_shards
from training.errors import DataError


@dataclass(frozen=True)
class TrainingData:
    """The faces to learn, and those to validate with; nobody is in both."""

    training: FaceSource
    validation: FaceSource


def open_training(config: DataConfig) -> FaceSource:
    """Open the faces to learn, labelled and not, without those that the config leaves out.

    Raises DataError as `open_data`.
    """
    faces = open_faces(config.training, side=config.side, only_faces=config.only_faces)
    if config.unlabelled:
        faces = Joined(faces, open_faces(config.unlabelled, side=config.side, only_faces=config.only_faces))
    if config.leave_out is not None:
        faces = leave_out(faces, read_names(config.leave_out))
    return with_photos(faces, config.fewest_photos) if config.fewest_photos else faces


def open_data(config: DataConfig) -> TrainingData:
    """Open what a config's `data` section names.

    Raises:
        DataError: as `open_faces`; nothing is left of the training faces; or somebody is in both.
    """
    faces = open_training(config)
    strangers = open_faces(config.validation, side=config.side, only_faces=config.only_faces)
    shared_people = set(faces.identities) & set(strangers.identities)
    if shared_people:
        raise DataError(f"{len(shared_people)} people are in training and validation, e.g. {min(shared_people)}")
    return TrainingData(faces, strangers)


def open_faces(paths: Sequence[Path], *, side: int, only_faces: bool) -> FaceSource:
    """Open the faces at these paths, which are all of one kind.

    Args:
        paths: folders (a folder for each identity in them, or tars), .rec files, or tars.
        side: height and width of each face in pixels.
        only_faces: leave out crops that show no face; in packs alone, which are decoded whole at the start.

    Raises:
        DataError: a path is missing, the kinds are mixed, or a file is damaged.
    """
    missing = [path for path in paths if not path.exists()]
    if missing or not paths:
        raise DataError(
            f"there is no {missing[0]}"
            if missing
            else "no path of faces is given; training and validation need one each"
        )
    paths = [file for path in paths for file in _tars_in(path) or [path]]
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise DataError(f"{paths[0]} and the other paths are of different kinds ({', '.join(sorted(kinds))})")
    match kinds.pop():
        case "folder":
            return open_folders(paths, side=side)
        case "records":
            return open_records(paths, side=side)
        case "shards":
            return open_shards(paths, side=side)
        case _:
            return read_packs(paths, side=side, only_faces=only_faces)


def _tars_in(path: Path) -> list[Path]:
    """List the tars of a folder of shards or packs."""
    tars = [*path.glob("*.tar"), *path.glob("*.tar.xz")] if path.is_dir() else []
    return sorted(tar for tar in tars if not beside_photos(tar.name))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if path.suffix == ".rec":
        return "records"
    return "shards" if is_shard(path) else "pack"
