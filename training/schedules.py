"""What changes as a run goes on: the learning rate, and what brings a margin in."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Annealing:
    """lambda(step) = max(minimum, base (1 + gamma step)^-power), step counted from 1.

    The defaults are the constants of the released SphereFace: 892.9 at step 1, 5 from step 1659 on.
    """

    base: float = 1000.0
    gamma: float = 0.12
    power: float = 1.0
    minimum: float = 5.0

    def at(self, step: int) -> float:
        """Lambda at this step, counted from 1."""
        return max(self.minimum, self.base * math.pow(1 + self.gamma * step, -self.power))

    def reaching_minimum_at(self, step: int) -> "Annealing":
        """Stretch the curve, faster or slower, so that the minimum (above 0) is reached at this step."""
        growth = math.pow(self.base / self.minimum, 1 / self.power) - 1
        return replace(self, gamma=growth / step)


@dataclass(frozen=True)
class MarginRamp:
    """A multiplicative margin rises from 1 in a straight line between two steps; at once where both are 0."""

    first: int = 0
    last: int = 0

    def at(self, step: int, margin: float) -> float:
        """Return the margin at this step, counted from 1."""
        if step >= self.last:
            return margin
        return 1 + (margin - 1) * max(0, step - self.first) / (self.last - self.first)


def learning_rate(step: int, *, steps: int, peak: float, warmup: int) -> float:
    """Rise linearly to `peak` over `warmup` steps, then fall along half a cosine to 0 after the last step.

    Args:
        step: counted from 1.
        steps: length of the run.
        peak: the highest rate.
        warmup: number of steps of the rise; 0 starts at the peak.

    (Goyal et al. 2017, section 2.2, for the warm-up; Loshchilov and Hutter 2017, eq. 5, for the cosine.)
    """
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup + 1)))
