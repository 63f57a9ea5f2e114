"""The error of the protocols."""

from indexer.errors import FaceIdError


class ProtocolError(FaceIdError):
    """A protocol's list is not what it should be, or does not fit the features."""
