"""Variables of a MATLAB file, read in a process of its own, since a damaged file may crash its reader or keep it busy.

MATLAB's formats up to 7.2, as SciPy reads them.
"""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from faceid.process_limits import limit_this_process
from indexer.errors import FaceIdError
from indexer.text import printable

SECONDS = 120  # BLUFR's splits take about two
MEMORY = 2_000_000_000  # bytes; what is compressed may unfold to a thousand times its size


class MatlabFileError(FaceIdError):
    """A file that is not MATLAB's, of a format that is not read, or damaged."""


def read_variables(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named variables that the file has, as `scipy.io.loadmat` lays them out.

    Raises MatlabFileError: not there, not MATLAB's, MATLAB 7.3, or its reader crashed or did not come to an end.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    reader = context.Process(target=_read, args=(str(path), tuple(names), MEMORY, SECONDS, sender), daemon=True)
    reader.start()
    sender.close()  # so that the pipe ends with the reader
    try:
        if not receiver.poll(SECONDS):
            raise MatlabFileError(
                f"{printable(path)}: not read after {SECONDS:g} seconds, it is probably damaged; fetch it again"
            )
        variables, reason = receiver.recv()
    except (EOFError, OSError) as error:
        raise MatlabFileError(f"{printable(path)}: damaged, it crashed the MATLAB reader; fetch it again") from error
    finally:
        reader.kill()
        reader.join()
        receiver.close()
    if variables is None:
        raise MatlabFileError(f"{printable(path)}: {reason}")
    found: dict[str, NDArray[Any]] = variables
    return found


def _read(path: str, names: tuple[str, ...], memory: int, seconds: int, sender: Connection) -> None:
    """Send (variables, None), or (None, the reason why there are none)."""
    from scipy.io import loadmat

    limit_this_process(memory, seconds)
    try:
        content = loadmat(path, variable_names=names)
        sender.send(({name: content[name] for name in names if name in content}, None))
    except OSError as error:
        sender.send((None, f"cannot be read ({error.strerror})"))
    except MemoryError:
        sender.send((None, f"it does not fit in the {memory:,} bytes that it may take"))
    except NotImplementedError:
        sender.send((None, "MATLAB 7.3 is not read; save it there with `save -v7`"))
    except Exception as error:  # a damaged file can end in nearly any error
        sender.send((None, f"not a MATLAB file ({error})"))
