"""Inner loops that numba compiles: kept on the disk for the next process, where any folder can be written to."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Return the decorator that compiles a function, with numba's `options`."""

    def compile_it(function: F) -> F:
        try:
            return cast(F, njit(cache=True, **options)(function))
        except RuntimeError:  # code that is read-only, and a user without a home: every process compiles anew
            return cast(F, njit(**options)(function))

    return compile_it
