"""What can go wrong while training, told so that the user knows what to change."""

from indexer.errors import FaceIdError


class TrainingError(FaceIdError):
    """The root of the errors of a training run."""


class ConfigError(TrainingError):
    """The config says something that the trainer does not know or cannot do."""


class DataError(TrainingError):
    """A training pack is missing, too large for the memory allowed, or holds something that is no face."""


class CheckpointError(TrainingError):
    """A checkpoint is torn, or belongs to another run."""


class DivergenceError(TrainingError):
    """The loss is no number any more: the run is over, its last checkpoint is not."""
