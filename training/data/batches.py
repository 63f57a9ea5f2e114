"""What each step of a run sees: a function of the seed and the step, so nothing needs to be remembered between steps.

A batch is cut into shares, one for each thread of each process. A share's crops depend on the seed, the step and the
share's number alone: not on who makes them, nor on how many do.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from faceid.vision.opencv import cv2
from training.augment import Augmentation, augment
from training.data.faces import FaceSource, Ints, UInt8Images
from training.device_augment import augment_on_device
from training.errors import DataError

READ_AT_ONCE = 4096  # faces on their way to a device
ORDER_DRAW, AUGMENTATION_DRAW, IDENTITY_DRAW, DROPOUT_DRAW = range(4)  # streams of random numbers that never meet

MakeCrops = Callable[[], UInt8Images | Tensor]


class Batches:
    """The batches of a run.

    Args:
        faces: what is drawn from.
        size: faces in a batch.
        shares: into how many parts a batch is cut.
        photos_per_identity: 0 draws each face once an epoch; k > 0 draws size / k identities for each batch, and k
            photos of each (again and again the same ones where an identity has fewer), as losses over pairs need it.
        input_size: height and width of the crops.
        augmentation: chance in the crops.
        seed: of everything.
    """

    def __init__(
        self,
        faces: FaceSource,
        *,
        size: int,
        shares: int,
        photos_per_identity: int,
        input_size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.faces, self.size, self.shares, self.seed = faces, size, shares, seed
        self.photos_per_identity = photos_per_identity
        self.input_size, self.augmentation = input_size, augmentation
        self.per_epoch = len(faces.labels) // size  # the last, incomplete batch of an epoch is left out
        self._epoch: tuple[int, Ints] = (-1, np.empty(0, np.int64))  # the order of the epoch asked for last
        if photos_per_identity > 0:
            self._by_person = np.argsort(faces.labels, kind="stable")
            photos = np.bincount(faces.labels)  # of some of a reader's faces not everybody has one
            self._starts = np.concatenate([[0], np.cumsum(photos[photos > 0])])
            wanted, people = size // photos_per_identity, len(self._starts) - 1
            if people < wanted:
                raise DataError(
                    f"a batch of {size} shows {wanted} people, {photos_per_identity} photos of each; the faces show "
                    f"{people}"
                )

    def chosen(self, step: int) -> Ints:
        """Faces of this step, counted from 1: int64 [size]."""
        if self.photos_per_identity > 0:
            return self._of_identities(step)
        epoch, position = divmod(step - 1, self.per_epoch)
        last, order = self._epoch
        if last != epoch:
            order = self.faces.order(np.random.default_rng([self.seed, ORDER_DRAW, epoch]))
            self._epoch = (epoch, order)
        return order[position * self.size : (position + 1) * self.size]

    def crops(self, step: int, share: int) -> UInt8Images:
        """Read and augment one share of a step: uint8 [b, h, w, 3]."""
        faces = self.faces.read(self._share(step, share))
        return augment(faces, self.input_size, self.augmentation, self._random(step, share))

    def crops_on_device(self, images: Tensor, step: int, share: int) -> Tensor:
        """Make the same of `images`, all faces on a device: uint8 [N, side, side, 3] -> [b, h, w, 3] there."""
        chosen = torch.from_numpy(self._share(step, share)).to(images.device)
        return augment_on_device(images[chosen], self.input_size, self.augmentation, self._random(step, share))

    def _share(self, step: int, share: int) -> Ints:
        return np.array_split(self.chosen(step), self.shares)[share]

    def _random(self, step: int, share: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, AUGMENTATION_DRAW, step, share])

    def _of_identities(self, step: int) -> Ints:
        random = np.random.default_rng([self.seed, IDENTITY_DRAW, step])
        people = random.choice(len(self._starts) - 1, self.size // self.photos_per_identity, replace=False)
        photos = [self._by_person[self._starts[person] : self._starts[person + 1]] for person in people]
        return np.concatenate([_some(random, each, self.photos_per_identity) for each in photos])


def stream(
    batches: Batches, steps: range, shares: Sequence[int], *, workers: int, pin: bool
) -> Iterator[list[MakeCrops]]:
    """Give for each step a function for each of these shares that makes its crops.

    Args:
        batches: of the run.
        steps: the steps to come.
        shares: the numbers of the shares that are wanted.
        workers: processes that read and augment ahead; 0 leaves it to whoever calls the functions.
        pin: put the crops where a GPU fetches them faster.
    """
    if workers == 0:
        for step in steps:
            yield [partial(batches.crops, step, share) for share in shares]
        return
    # Before the workers fork: a fork loses OpenCV's threads, and a worker that then changed their number would wait for
    # them for ever.
    cv2.setNumThreads(1)
    loader = DataLoader(
        _Steps(batches, steps, tuple(shares)),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=False,
    )
    for crops in loader:
        yield [each.numpy for each in crops]


def stream_on_device(
    batches: Batches, steps: range, shares: Sequence[int], device: torch.device
) -> Iterator[list[MakeCrops]]:
    """Do as `stream` with all faces in the device's memory, where they are augmented too."""
    side = batches.faces.read(np.zeros(1, np.int64)).shape[1]
    images = torch.empty((len(batches.faces.labels), side, side, 3), dtype=torch.uint8, device=device)
    for start in range(0, len(images), READ_AT_ONCE):
        chosen = np.arange(start, min(start + READ_AT_ONCE, len(images)))
        images[start : start + READ_AT_ONCE] = torch.from_numpy(batches.faces.read(chosen)).to(device)
    for step in steps:
        yield [partial(batches.crops_on_device, images, step, share) for share in shares]


class _Steps(Dataset[list[UInt8Images]]):
    """The shares of each step, for worker processes."""

    def __init__(self, batches: Batches, steps: range, shares: tuple[int, ...]) -> None:
        self.batches, self.steps, self.shares = batches, steps, shares

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> list[UInt8Images]:
        return [self.batches.crops(self.steps[index], share) for share in self.shares]


def _some(random: np.random.Generator, photos: Ints, count: int) -> Ints:
    """Draw photos of a person, each once before any comes again."""
    rounds = -(-count // len(photos))
    return np.concatenate([random.permutation(photos) for _ in range(rounds)])[:count]
