"""Where one shot of a film ends and the next begins."""

from collections import deque

import numpy as np

from faceid.vision.images import UInt8Image

# Grey levels by which the blocks of two frames differ on average; a cut to another scene is mostly above 30, a walking
# person in a still scene below 3, a shaken camera 5 to 12. A cut that is seen where none is costs little: people are
# known again by their faces.
LEAST = 14.0
TIMES_USUAL = 4.0  # and so many times what the frames before differed by
_REMEMBERED = 25
_BLOCK = 4


class ShotCounter:
    """Numbers the shots of the frames that come one after the other, from sketches of them (`decoded.sketch`)."""

    def __init__(self) -> None:
        self.shot = 0
        self._last: UInt8Image | None = None
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)

    def see(self, sketch: UInt8Image) -> int:
        """Return the number of the shot to which a frame belongs."""
        rows, columns = sketch.shape
        blocks = sketch.reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK).mean(axis=(1, 3))
        if self._last is not None:
            change = float(np.abs(blocks - self._last).mean())
            usual = float(np.median(self._usual)) if self._usual else 0.0
            if change > max(LEAST, TIMES_USUAL * usual):
                self.shot += 1
            else:
                self._usual.append(change)
        self._last = blocks
        return self.shot
