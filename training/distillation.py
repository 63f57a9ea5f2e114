"""Learning from a better network: match its embeddings, computed once, instead of a head or beside one.

Knowledge distillation (Hinton et al. 2015) of embeddings by their directions, as ShrinkTeaNet (Duong et al. 2019,
equation 6) does, with the loss 1 - cos.
"""

import hashlib
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.models.model_zoo import find_model
from faceid.vision.alignment import centre_points
from indexer.durable_file import replacing
from indexer.records import FloatMatrix
from training.augment import centre_crops
from training.data.faces import Faces, Selection
from training.errors import ConfigError

BATCH = 512
TOLERANCE_PX = 0.5  # how far a teacher's reference points may lie from those that the packs are aligned to


class Distillation(nn.Module):
    """Mean of 1 - cos(projection(embedding), teacher's embedding); the projection is left out where sizes agree.

    Args:
        dimension: D, length of an embedding.
        teacher_dimension: T, length of the teacher's.
    """

    def __init__(self, dimension: int, teacher_dimension: int) -> None:
        super().__init__()
        self.projection: nn.Module = nn.Identity()
        if dimension != teacher_dimension:
            self.projection = nn.Linear(dimension, teacher_dimension, bias=False)

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings [B, D] float32 and the teacher's unit embeddings [B, T] -> the mean loss, a scalar in 0..2."""
        cosines = functional.cosine_similarity(self.projection(embeddings), targets)
        loss: Tensor = (1 - cosines).mean()
        return loss


def class_centres(targets: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Teacher's embeddings [N, T] of faces of people [N] -> each person's unit mean [K, T]: where a head starts.

    Random class weights would first pull a network that knows the teacher's directions away from them.
    """
    sums = targets.new_zeros(classes, targets.shape[1]).index_add_(0, labels, targets)
    return functional.normalize(sums)


def teacher_embeddings(teacher: str, faces: Faces, cache: Path, progress: TextIO = sys.stderr) -> FloatMatrix:
    """Return what the teacher makes of each face: unit rows [N, T] float32, from the cache where they are already.

    The teacher sees a face as it is, without augmentation, and mirrored; the target is the direction of the sum, which
    is better than either, and one target serves the crop and its mirror image.

    Args:
        teacher: a model's name or the path of its file.
        faces: N faces.
        cache: folder of files named by the digests of the teacher and of the faces.
        progress: where it says that it computes.

    Raises:
        ModelError: no such model, or it cannot run here.
        ConfigError: the teacher's crops are aligned otherwise than the packs.
    """
    if isinstance(faces, Selection):  # what is left out may change; what the teacher makes of a face does not
        return teacher_embeddings(teacher, faces.faces, cache, progress)[faces.kept]
    model = find_model(teacher)
    key = hashlib.sha256(f"{model.digest} {faces.digest} mirrored".encode()).hexdigest()
    file = cache / f"teacher-{key[:16]}.safetensors"
    try:
        return load_file(file)["embeddings"]
    except (OSError, SafetensorError, KeyError):
        pass  # not there, or torn: it is computed anew
    _check_alignment(model)
    print(f"the teacher {model.spec.name} embeds {len(faces.labels)} faces once", file=progress, flush=True)
    embedder = Embedder(model, precision="auto")
    embeddings = np.empty((len(faces.labels), embedder.dimension), np.float32)
    for start in range(0, len(embeddings), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(embeddings)))
        crops = centre_crops(faces.read(chosen), embedder.spec.input_size)
        both = embedder.embed(crops) + embedder.embed(np.ascontiguousarray(crops[:, :, ::-1]))
        embeddings[start : start + BATCH] = both / np.linalg.norm(both, axis=1, keepdims=True)
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(file) as unfinished:
        save_file({"embeddings": embeddings}, unfinished)
    return embeddings


def _check_alignment(model: Model) -> None:
    """Refuse a teacher whose crops have other reference points than the packs' faces."""
    expected = centre_points(*model.spec.input_size)
    if np.abs(np.asarray(model.spec.reference_points) - expected).max() > TOLERANCE_PX:
        raise ConfigError(
            f"the teacher {model.spec.name} wants faces aligned to other reference points than the packs have; "
            "take a teacher that was imported with the standard 112x112 points"
        )
