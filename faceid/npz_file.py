"""Arrays out of an `.npz` archive that may be damaged in any way, or forged: sizes first, no pickles, no surprises."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from indexer.regular_file import open_regular

# What numpy.savez writes; its third version is for names of columns alone.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive that `numpy.savez` wrote.

    Raises FileNotFoundError where there is none, and ValueError for whatever is no such archive, or is damaged.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy"): _read(archive, name) for name in archive.namelist()}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive can end in nearly any error
        raise ValueError(f"not a sound .npz file without pickles ({error})") from error


def read_header(file: IO[bytes], archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether it lies by columns, its type.

    Nothing is allocated before it agrees with the size that the archive declares, and zipfile reads no more than that.
    Raises ValueError.
    """
    version = np.lib.format.read_magic(file)
    read = _HEADERS.get(version)
    if read is None:
        raise ValueError(f"{name} is of format {version}; write it with numpy.savez")
    shape, by_columns, dtype = read(file)
    size = dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and file.tell() + size != archive.getinfo(name).file_size:
        raise ValueError(f"the size of {name} does not fit its header; write the file again")
    return shape, by_columns, dtype


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:  # so it is no larger than the file
        raise ValueError(f"{name} is compressed")
    with archive.open(name) as file:
        read_header(file, archive, name)
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
