"""The files of a tar, read without trusting it: sizes are looked at before anything is read; damage is one error."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Never, Self

from training.errors import DataError

# The largest face that anybody trains on has a few hundred kilobytes.
MAX_MEMBER_BYTES = 16 * 2**20
# Names and the like that stand before a member, of 4,096 bytes at most; they are read whole, one within the other, and
# compressed they may be of any size.
MAX_HEADER_BYTES = 2**14
_HEADERS = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
}


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As TarInfo's; ValueError for what would be read whole, and more of it than MAX_HEADER_BYTES."""
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:  # its list of holes may go on without end
            raise ValueError(f"{member.name} is stored with holes (sparse); pack it again without")
        if member.type in _HEADERS and member.size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {member.size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        return member

    def _proc_gnusparse_10(self, *_: object) -> Never:
        """Refuse the other list of holes, which stands where a member's bytes do and may go on without end, too."""
        raise ValueError("a member is stored with holes (sparse); pack it again without")


def members(path: Path, mode: str = "r") -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield each regular file of the tar, read once from start to end; `mode` as `tarfile.open` has it ("r:": plain).

    Raises:
        DataError: the tar is missing, damaged, or no regular file; or a member is sparse, or larger than
            MAX_MEMBER_BYTES.
    """
    try:
        if not path.is_file():
            raise DataError(f"cannot read {path}: it is missing, or not a regular file")
        with tarfile.open(path, mode, tarinfo=_Member) as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # it would remember every one
                _check(member, path)
                if member.isfile():
                    yield tar, member
    except (DataError, MemoryError, GeneratorExit):
        raise
    # A damaged tar can end in nearly any error: of numbers, of texts, of three compressions, of recursion.
    except Exception as error:
        raise DataError(f"cannot read {path}: it is damaged, or no such tar ({error})") from error


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the bytes of a member that `members` has yielded. Raises DataError where they are not there."""
    try:
        file = tar.extractfile(member)
        assert file is not None
        return file.read()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise DataError(f"{member.name} in {tar.name!s} is torn ({error})") from error


def _check(member: tarfile.TarInfo, path: Path) -> None:
    """Raise DataError; that a member reaches beyond the end, `tarfile` finds when it looks for the next."""
    if member.issparse():
        raise DataError(f"{member.name} in {path} is stored with holes (sparse); pack it again without")
    if member.size > MAX_MEMBER_BYTES:
        raise DataError(f"{member.name} in {path} has {member.size:,} bytes; a face has at most {MAX_MEMBER_BYTES:,}")
    if member.size < 0:  # the next one would be this one again
        raise DataError(f"{member.name} in {path} is torn: it has {member.size:,} bytes")
