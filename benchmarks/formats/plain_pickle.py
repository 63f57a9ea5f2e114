"""A pickle of plain things (lists, tuples, bytes, texts, numbers, booleans, None), read without running anything.

A pickle is a program. Python's own unpickler runs it in C, where things nested 100,000 deep end the process; this one
knows the few operators that plain things need, refuses all others, and builds nothing deeper than MAX_DEPTH.
"""

import pickletools
from itertools import islice
from typing import Any

# A verification set is a tuple of lists of bytes: three deep.
MAX_DEPTH = 8
# An image takes three, and the largest sets have some ten thousands; each byte of a file may be one of 150 bytes here.
MAX_OPERATORS = 2_000_000
# What could look up a name, call something, or fetch an object from elsewhere.
_FORBIDDEN = {
    *("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"),
    *("EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"),
}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# Text of Python 2 was bytes: `pickletools` gives them decoded as Latin-1.
_BYTES_OF_PYTHON_2 = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_SKIPPED = {"PROTO", "FRAME"}
_MARK = object()


class ForbiddenOperator(Exception):
    """The pickle asks for more than plain things; the text says for what."""


def load(data: bytes) -> Any:
    """Return what the pickle holds.

    Raises ForbiddenOperator for one that is a program, ValueError for one that is damaged, nested too deep or too long,
    or holds other things.
    """
    machine = _Machine()
    try:
        for operator, argument, _ in islice(pickletools.genops(data), MAX_OPERATORS):
            if operator.name == "STOP":
                return machine.result()
            machine.step(operator.name, argument)
    except (IndexError, KeyError, UnicodeError) as error:
        raise ValueError(f"a damaged pickle ({error!r})") from error
    raise ValueError(f"a pickle without an end in its first {MAX_OPERATORS:,} operators")


class _Machine:
    """The stack and the memo of a pickle, and how deep each thing on the stack is nested."""

    def __init__(self) -> None:
        self.stack: list[tuple[Any, int]] = []
        self.memo: dict[int, tuple[Any, int]] = {}

    def result(self) -> Any:
        (thing, _), *further = self.stack
        if further or thing is _MARK:
            raise ValueError("a pickle of several things")
        return thing

    def step(self, name: str, argument: Any) -> None:
        """Do what an operator says."""
        if name in _FORBIDDEN:
            raise ForbiddenOperator(self._asked_for(name, argument))
        if name in _CONSTANTS:
            self.stack.append((_CONSTANTS[name], 0))
        elif name in _BYTES_OF_PYTHON_2:
            self.stack.append((argument.encode("latin-1"), 0))
        elif name in _VALUES:
            self.stack.append((argument, 0))
        elif name == "MARK":
            self.stack.append((_MARK, 0))
        elif name == "EMPTY_LIST":
            self.stack.append(([], 1))
        elif name == "LIST":
            self._push_all(list, self._since_mark())
        elif name == "TUPLE":
            self._push_all(tuple, self._since_mark())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self._push_all(tuple, [self._pop() for _ in range(int(name[-1]))][::-1])
        elif name == "APPEND":
            self._extend([self._pop()])
        elif name == "APPENDS":
            self._extend(self._since_mark())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in _SKIPPED:
            raise ValueError(f"the operator {name}, which plain lists do not need")

    def _asked_for(self, name: str, argument: Any) -> str:
        if name == "STACK_GLOBAL":
            return ".".join(str(thing) for thing, _ in self.stack[-2:])
        return str(argument).replace(" ", ".") if argument else f"the operator {name}"

    def _pop(self) -> tuple[Any, int]:
        thing = self.stack.pop()
        if thing[0] is _MARK:
            raise ValueError("a mark where a thing should be")
        return thing

    def _since_mark(self) -> list[tuple[Any, int]]:
        things = []
        while (thing := self.stack.pop())[0] is not _MARK:
            things.append(thing)
        return things[::-1]

    def _push_all(self, kind: type, things: list[tuple[Any, int]]) -> None:
        depth = 1 + max((depth for _, depth in things), default=0)
        self.stack.append((kind(thing for thing, _ in things), _allowed(depth)))

    def _extend(self, things: list[tuple[Any, int]]) -> None:
        target, depth = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("something that is no list is to be extended")
        if any(thing is target for thing, _ in things):
            raise ValueError("a list in itself")
        target.extend(thing for thing, _ in things)
        self.stack[-1] = target, _allowed(max(depth, *(1 + inner for _, inner in things)) if things else depth)


def _allowed(depth: int) -> int:
    if depth > MAX_DEPTH:
        raise ValueError(f"things nested more than {MAX_DEPTH} deep")
    return depth
