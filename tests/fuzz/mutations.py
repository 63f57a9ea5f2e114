"""Bytes changed as damage and malice change them: flipped, cut, doubled, moved, and numbers made extreme."""

import random

_EXTREMES = [value.to_bytes(size, order) for size in (1, 2, 4, 8) for order in ("little", "big") for value in (
    0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1
)]  # fmt: skip


def mutated(data: bytes, seed: int) -> bytes:
    """Return the data changed in one to four places, the same for the same seed."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        _change(changed, chance)
    return bytes(changed)


def _change(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data) + 1)
    length = min(chance.choice((1, 2, 4, 8, 64, 512)), len(data) - place)
    match chance.randrange(6):
        case 0 if place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        case 1 if place < len(data):
            data[place] = chance.randrange(256)
        case 2:
            extreme = chance.choice(_EXTREMES)
            data[place : place + len(extreme)] = extreme
        case 3:
            del data[place : place + length]
        case 4:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 100))
        case _:
            del data[place:]
