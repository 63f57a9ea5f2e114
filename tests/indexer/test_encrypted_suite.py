"""The gallery's own tests, with every gallery encrypted, and once with a key for each person.

Those marked `plain` make plain ones on purpose.
"""

import pytest

from tests.indexer.again import pass_again

ENCRYPTED = {"FACEID_KEY": "env:KEY_OF_TESTS", "KEY_OF_TESTS": "5a" * 32}
PARTS = ["store", "test_gallery.py", "test_erase.py"]


@pytest.mark.slow
@pytest.mark.plain
def test_everything_a_gallery_does_it_does_encrypted():
    pass_again([*PARTS, "cache", "test_damage.py", "test_guest.py"], ENCRYPTED)


@pytest.mark.slow
@pytest.mark.plain
def test_everything_a_gallery_does_it_does_with_a_key_for_each_person(tmp_path):
    """They change nothing of how caches, damage and guests are dealt with."""
    pass_again(PARTS, {**ENCRYPTED, "FACEID_PERSON_KEYS": str(tmp_path)})
