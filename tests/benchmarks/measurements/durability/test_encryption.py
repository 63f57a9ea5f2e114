"""`encrypt` and `rotate`, killed at each write and on a full disk, lose nothing and mix nothing."""

import os

import pytest

from benchmarks.measurements.durability.encryption import encrypt_and_rotate


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_stopped_anywhere_a_gallery_is_whole_under_one_key_and_a_copy_whole_or_not_there(tmp_path):
    results = encrypt_and_rotate(tmp_path, step=256 << 10)
    assert [failure for one in results for failure in one.failures] == []
    assert {one.command for one in results} == {"encrypt", "encrypt anew", "rotate"}
    assert min(one.times for one in results if one.how == "killed at each write") >= 4
