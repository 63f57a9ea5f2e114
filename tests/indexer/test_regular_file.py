"""Files are read whole, up to a size."""

from pathlib import Path

import pytest

from indexer.regular_file import read_regular


def test_a_file_is_read_whole_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "file", 4)


def test_a_file_that_states_no_size_is_read_whole() -> None:
    file = Path("/proc/self/status")
    if not file.exists():
        pytest.skip("the system has no /proc")
    assert file.stat().st_size == 0
    assert read_regular(file, 1 << 20).count(b"\n") > 20
    with pytest.raises(OSError, match="larger than 40 bytes"):
        read_regular(file, 40)
