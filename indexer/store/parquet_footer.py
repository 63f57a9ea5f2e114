"""The footer of a Parquet file and the headers of its pages, read as far as they say what its columns unfold to.

pyarrow has some of these words, but a damaged footer makes asking for them end the process; and it believes a page,
whatever the footer says of all. They are structures of Thrift's compact protocol (parquet.thrift in parquet-format), of
which nothing is believed but where a value ends.
"""

import os
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

PLAIN = 0  # the codec of pages that are not compressed
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LISTS, _STRUCT = 0, 1, 2, 3, 7, 8, (9, 10), 12
_NUMBERS = (4, 5, 6)
_LONGEST, _LONGEST_HEAD = 2**31, 2**12  # bytes of a text, and of what stands before a page
# The numbers of fields: of the file, a row group, a column in it, and a page.
_ROW_GROUPS, _COLUMNS, _ROWS, _META_DATA = 4, 1, 3, 3
_CODEC, _VALUES, _BYTES, _PAGES, _DICTIONARY = 4, 5, 7, 9, 11
_PAGE_BYTES, _DATA_PAGE, _DATA_PAGE_2, _PAGE_VALUES = 3, 5, 8, 1


def row_groups(file: IO[bytes]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield each row group's number of rows, and of each of its columns the codec and the number of values.

    Raises ValueError, LookupError, TypeError or AttributeError for what is no such footer, or not that of these pages.
    """
    end = file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, end - length))
    for group in _struct(BytesIO(file.read(length)))[_ROW_GROUPS]:
        columns = [column[_META_DATA] for column in group[_COLUMNS]]
        end -= sum(max(0, column[_BYTES]) for column in columns)  # no page is gone through twice
        if end < 0 or any(_values_in_pages(file, column) != column[_VALUES] for column in columns):
            raise ValueError("its pages hold other values than it says")
        yield group[_ROWS], [(column[_CODEC], column[_VALUES]) for column in columns]


def _values_in_pages(file: IO[bytes], column: dict[int, Any]) -> int:
    start: int = column[_PAGES]
    if 0 < column.get(_DICTIONARY, 0) < start:
        start = column[_DICTIONARY]
    place, values = start, 0
    while place < start + column[_BYTES]:
        file.seek(place)
        head = BytesIO(file.read(_LONGEST_HEAD))
        page = _struct(head)
        values += max(0, (page.get(_DATA_PAGE) or page.get(_DATA_PAGE_2) or {_PAGE_VALUES: 0})[_PAGE_VALUES])
        place += head.tell() + max(0, page[_PAGE_BYTES])
    return values


def _struct(data: BytesIO) -> dict[int, Any]:
    found: dict[int, Any] = {}
    number = 0
    while (head := _byte(data)) & 15 != _STOP:
        number = number + (head >> 4) if head >> 4 else _number(data)
        found[number] = head & 15 == _TRUE if head & 15 in (_TRUE, _FALSE) else _value(data, head & 15)
    return found


def _value(data: BytesIO, kind: int) -> Any:
    if kind in _NUMBERS:
        return _number(data)
    if kind == _STRUCT:
        return _struct(data)
    if kind == _BINARY:
        return data.read(min(_varint(data), _LONGEST))
    if kind == _DOUBLE:
        return data.read(8)
    if kind in (_TRUE, _FALSE, _BYTE):  # of a list, where a truth has a byte of its own
        return _byte(data)
    if kind in _LISTS:
        head = _byte(data)
        count = head >> 4 if head >> 4 < 15 else _varint(data)
        return [_value(data, head & 15) for _ in range(count)]
    raise ValueError("its footer holds what no footer does")


def _byte(data: BytesIO) -> int:
    return data.read(1)[0]


def _varint(data: BytesIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        digit = _byte(data)
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value
    raise ValueError("its footer holds a number without end")


def _number(data: BytesIO) -> int:
    value = _varint(data)
    return value >> 1 ^ -(value & 1)
