"""What every test may lean on: the given material, where it is there."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of given faces and weights; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the given faces and weights (../shared) are not here")
    return SHARED
