"""The errors of the engine: what went wrong, with which file, what to do next; each knows its exit code."""


class FaceIdError(Exception):
    """The root of every error that a user may see; its text is meant for the user."""

    exit_code = 1


class FileNotWritten(FaceIdError):
    """The disk did not take a file: full, read-only, not there. What was in its place is still there."""


class GalleryError(FaceIdError):
    """Something about a gallery: missing, already there, an unknown identity."""


class InvalidName(GalleryError):
    """A name or external id that no gallery keeps: empty, too long, or with control characters."""

    reason_code = "invalid_name"


class ModelMismatch(GalleryError):
    """The gallery was embedded by another model than the one at hand; both digests are in the text."""

    exit_code = 4


class StoreDamaged(GalleryError):
    """The database, the gallery's only truth, is damaged or is not one of ours."""

    exit_code = 5


class KeyMissing(GalleryError):
    """A gallery is encrypted, and its key is not at hand: none was given, or where it is to be there is none."""

    exit_code = 7


class WrongKey(GalleryError):
    """A gallery is encrypted under another key than the one at hand, or its envelope is another gallery's."""

    exit_code = 8


class GalleryLocked(GalleryError):
    """Another process is writing to the gallery."""

    exit_code = 6


class GalleryBusy(GalleryError):
    """So many calls read or write this gallery at once that one waited too long for its turn; try again."""

    exit_code = 6


class GalleryUnreachable(GalleryError):
    """The server that keeps the gallery does not answer, or the connection to it was lost; try again."""

    exit_code = 9


class ForkedProcess(FaceIdError):
    """A fork of the process that opened what is used here; it must be opened anew in this one."""


class VectorError(FaceIdError, ValueError):
    """A vector that no index may hold: not finite, of the wrong size, not of unit length, or its id is taken."""


class CalibrationError(FaceIdError):
    """No threshold can be given: no calibration, or too few trials for the rate that was asked for."""
