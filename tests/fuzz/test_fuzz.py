"""A few hundred damaged files for each reader, the same every time; `python -m tests.fuzz` goes on for an hour.

A reader may take a file or refuse it with its own kind of error; whatever else it does is a fault.
"""

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

# Those that start a process or a session for each file.
FEW = {"rich-photos": 20, "networks": 30}


@pytest.mark.parametrize("name", TARGETS)
def test_sound_files_are_taken(name: str) -> None:
    if name in ("devkit", "tars", "pairs", "configs"):
        pytest.skip("its seeds are each of another kind, or refused on purpose")
    assert all(TARGETS[name].run(seed) for seed in TARGETS[name].seeds())


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_taken_or_refused_and_nothing_else(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for number in range(FEW.get(name, 200)):
        data = mutated(seeds[number % len(seeds)], number)
        try:
            target.run(data)
        except Exception as error:
            pytest.fail(f"{name}, number {number}: {error!r}\n{data[:200]!r}")
