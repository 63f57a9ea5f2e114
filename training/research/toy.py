"""The papers' toy figure: a few people in two and three dimensions, under softmax and under growing angular margins.

What a margin does can be seen there with bare eyes: classes become narrow on the circle and on the sphere
(Liu et al. 2017, figures 2 and 5). The people are drawn by the demo's face model, so no data set is needed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.demo.face_model import FACE_SIDE, load_face_model
from faceid.feature_set import unit_rows
from faceid.models.graphs.sphereface import BLOCKS
from faceid.models.networks.sphereface import SphereFace
from faceid.vision.opencv import cv2
from indexer.records import FloatMatrix
from training.heads import build_head
from training.schedules import learning_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PEOPLE, FACES_EACH = 6, 240  # the paper's toy has six people, too
SIDE = 32  # pixels
WIDTH = 0.25  # of a SphereFace-4
BORDER = 4  # of a drawn face, around the aligned crop
BATCH, STEPS, PEAK_RATE, WARMUP = 96, 400, 0.05, 40
CLIP_NORM = 5.0
SMALLEST_LAMBDA = 0.5  # few people: the margin may come in further than the 5 of a real run
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    **{
        f"A-Softmax, m = {margin}": (
            "asoftmax",
            {"margin": margin, "annealing": {"minimum": SMALLEST_LAMBDA, "reach": 0.6}},
        )
        for margin in (1, 2, 3, 4)
    },
}
BINS = 60


@dataclass(frozen=True, eq=False)
class ToyFaces:
    """Faces float32 [N, 3, SIDE, SIDE] in -1..1 and their people int64 [N]."""

    images: torch.Tensor
    people: torch.Tensor


@dataclass(frozen=True, eq=False)
class Embedded:
    """What one loss made of the faces: embeddings float32 [N, D] of any length, class weights [K, D], people [N]."""

    loss: str
    embeddings: FloatMatrix
    weights: FloatMatrix
    people: NDArray[np.int64]


def write_toy_figure(file: Path, seed: int = 1) -> list[str]:
    """Train every loss in two and three dimensions and draw them side by side into `file` (PNG).

    Returns one line of text a loss: mean angle of a face to its own class weight, and to the nearest other one, in
    degrees.
    """
    faces = draw_faces(seed)
    flat, round_ = ([embed_toy(faces, loss, dimension, seed) for loss in LOSSES] for dimension in (2, 3))
    _draw(flat, round_, file)
    return [_summary(two, three) for two, three in zip(flat, round_, strict=True)]


def draw_faces(seed: int) -> ToyFaces:
    """Draw PEOPLE people with FACES_EACH faces each, mirrored at random."""
    rng = np.random.default_rng(seed)
    model = load_face_model()
    people = np.repeat(np.arange(PEOPLE), FACES_EACH)
    drawn = model.sample_faces(model.sample_people(PEOPLE, rng)[people], rng)
    inner = slice(BORDER, FACE_SIDE - BORDER)
    small = [cv2.resize(face[inner, inner], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in drawn]
    images = (np.stack(small).transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128
    mirrored = np.where(rng.random(len(images))[:, None, None, None] < 0.5, images[..., ::-1], images)
    return ToyFaces(torch.from_numpy(np.ascontiguousarray(mirrored)), torch.from_numpy(people))


def embed_toy(faces: ToyFaces, loss: str, dimension: int, seed: int) -> Embedded:
    """Train a small SphereFace-4 under one of LOSSES and embed the faces it was trained on."""
    torch.set_num_threads(1)  # operations this small lose more by waiting for each other than they win
    torch.manual_seed(seed)
    name, arguments = LOSSES[loss]
    network = SphereFace(
        BLOCKS["sphereface4"], input_size=(SIDE, SIDE), dimension=dimension, width=WIDTH, batch_norm=True
    )
    network.embedding_norm = nn.Identity()  # the picture shows the embedding as it is
    head = build_head(name, dimension, PEOPLE, steps=STEPS, **arguments)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4)
    for step, chosen in enumerate(_batches(len(faces.people), seed), start=1):
        optimiser.param_groups[0]["lr"] = learning_rate(step, steps=STEPS, peak=PEAK_RATE, warmup=WARMUP)
        head.at_step(step)
        optimiser.zero_grad()
        head(network(faces.images[chosen]), faces.people[chosen]).backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimiser.step()
    network.eval()
    with torch.inference_mode():
        embeddings = network(faces.images).numpy()
    weight = head.weight
    assert isinstance(weight, torch.Tensor)
    return Embedded(loss, embeddings, weight.detach().numpy(), faces.people.numpy())


def angles(embedded: Embedded) -> tuple[FloatMatrix, FloatMatrix]:
    """Angles in degrees [N] of each face to its own class weight, and to the nearest other one."""
    cosines = unit_rows(embedded.embeddings) @ unit_rows(embedded.weights).T
    theta = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    rows = np.arange(len(theta))
    own = theta[rows, embedded.people]
    theta[rows, embedded.people] = np.inf
    return own, theta.min(axis=1)


def _batches(count: int, seed: int) -> Iterator[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        yield torch.randint(count, (BATCH,), generator=random)


def _summary(two: Embedded, three: Embedded) -> str:
    parts = []
    for embedded in (two, three):
        own, other = angles(embedded)
        parts.append(f"{embedded.embeddings.shape[1]}-D own {own.mean():.1f}, nearest other {other.mean():.1f} degrees")
    return f"{two.loss}: {'; '.join(parts)}"


def _draw(flat: list[Embedded], round_: list[Embedded], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(flat), 9.6), layout="constrained")
    for place, (two, three) in enumerate(zip(flat, round_, strict=True)):
        _draw_circle(figure.add_subplot(3, len(flat), place + 1), two)
        _draw_sphere(figure.add_subplot(3, len(flat), len(flat) + place + 1, projection="3d"), three)
        _draw_angles(figure.add_subplot(3, len(flat), 2 * len(flat) + place + 1), three, first=place == 0)
    figure.savefig(file, dpi=110)


def _draw_circle(axes: "Axes", embedded: Embedded) -> None:
    turn = np.linspace(0, 2 * math.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color="0.8", linewidth=1, zorder=0)
    unit, centres = unit_rows(embedded.embeddings), unit_rows(embedded.weights)
    for person in range(len(centres)):
        colour = f"C{person}"
        axes.plot([0, centres[person, 0]], [0, centres[person, 1]], color=colour, linewidth=1.5)
        here = unit[embedded.people == person]
        axes.scatter(here[:, 0], here[:, 1], s=8, color=colour, alpha=0.4, linewidths=0)
    axes.set(title=embedded.loss, aspect="equal", xticks=[], yticks=[], xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))


def _draw_sphere(axes: Any, embedded: Embedded) -> None:
    along, across = np.mgrid[0 : math.pi : 19j, 0 : 2 * math.pi : 37j]
    surface = np.sin(along) * np.cos(across), np.sin(along) * np.sin(across), np.cos(along)
    axes.plot_wireframe(*surface, color="0.88", linewidth=0.4, rstride=2, cstride=2)
    unit = unit_rows(embedded.embeddings)
    for person in range(len(embedded.weights)):
        axes.scatter(*unit[embedded.people == person].T, s=5, color=f"C{person}", alpha=0.4, linewidths=0)
    axes.set_box_aspect((1, 1, 1))
    axes.set_axis_off()


def _draw_angles(axes: "Axes", embedded: Embedded, *, first: bool) -> None:
    own, other = angles(embedded)
    edges = np.linspace(0, 180, BINS + 1).tolist()
    axes.hist(own, edges, density=True, color="tab:blue", alpha=0.7, label="own class weight")
    axes.hist(other, edges, density=True, color="tab:orange", alpha=0.7, label="nearest other")
    axes.set(xlabel="angle in 3-D, degrees", yticks=[], xlim=(0, 180), xticks=range(0, 181, 45))
    if first:
        axes.set_ylabel("share of faces")
        axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False)
