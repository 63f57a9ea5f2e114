"""Whatever the arguments, what leaves the public surface is a FaceIdError, a TypeError or a ValueError."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceid import FaceEngine, FaceIdError, Gallery, PersonPhoto, Picture, user_threshold

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.just(np.zeros((2, 2))),
    st.just(np.full((1, 512), np.nan, np.float32)),
    st.just(Path("/nowhere\0")),
    st.just(object()),
)
QUIET = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def survives(act: object, *arguments: object, **named: object) -> None:
    try:
        result = act(*arguments, **named)
        list(result) if hasattr(result, "__next__") else None
    except (FaceIdError, TypeError, ValueError):
        pass


@pytest.mark.slow
@QUIET
@given(ODD)
def test_opening(one: object) -> None:
    survives(PersonPhoto, one, one, one)
    survives(Picture, one, one, one)
    survives(user_threshold, one)
    survives(Gallery.open, one)
    for setting in ("device", "backend", "precision", "detector_weights"):
        survives(FaceEngine, **{"model": "nonesuch", setting: one})
    survives(FaceEngine, "sphereface", min_face_size=one) if isinstance(one, str | bytes | float) else None
