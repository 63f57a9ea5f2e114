"""The gallery's own tests, with every gallery in PostgreSQL: those marked `folder` are about files on purpose.

The tests of caches, which are the same on any store, are left to a server at hand:
FACEID_TEST_POSTGRES=postgresql://USER@HOST/DATABASE pytest tests/indexer
"""

import pytest

from tests.indexer.again import pass_again
from tests.postgres_server import VARIABLE


@pytest.mark.slow
def test_everything_a_gallery_does_it_does_in_postgresql(postgres):
    parts = ["store", "test_gallery.py", "test_erase.py", "test_damage.py", "test_decided_on.py"]
    pass_again([*parts, "test_cancelable_gallery.py"], {VARIABLE: postgres})
