"""The indexes elsewhere that a gallery keeps: noted in its database, kept up by its writer, reached by an erasure."""

import logging

from indexer.errors import GalleryError
from indexer.outside.addresses import open_outside, settled
from indexer.outside.following import follow, is_of, take_out
from indexer.outside.outside import OutsideError, OutsideIndex
from indexer.outside.rows import changed_rows, owners_of
from indexer.outside.searching import OutsideSearch
from indexer.store import queries as store
from indexer.store.outside_places import forget_place, note_place, places
from indexer.store.store import Store

logger = logging.getLogger(__name__)


class KeptOutside:
    """One gallery's indexes elsewhere; connections are opened when they are needed, and kept."""

    def __init__(self, database: Store) -> None:
        self._database = database
        self._open: dict[str, OutsideIndex] = {}

    def add(self, address: str, *, plain: bool) -> None:
        """Note an engine and bring it up. Raises OutsideError where it does not serve: then it stays noted.

        The vectors of an encrypted gallery go there as they are: GalleryError unless `plain` says so.
        """
        if self._database.key is not None and not plain:
            raise GalleryError(
                f"this gallery is encrypted, and {address} would hold its vectors in the plain; allow that with"
                " --plain-outside-index"
            )
        address = self._noted(address)
        self._index(address)  # refused before anything is noted
        with self._database.read() as connection:
            known = address in places(connection)
        if not known:
            with self._database.write() as connection:
                note_place(connection, address)
        self._bring_up(address)

    def forget(self, address: str) -> None:
        """Take away what an engine holds of this gallery, and forget it. Raises OutsideError where none serves."""
        address = self._noted(address)
        self._require_noted(address)
        index = self._index(address)
        index.drop()
        if index.mark() is not None or index.count():
            raise OutsideError(f"{address} still holds the gallery's vectors")
        with self._database.write() as connection:
            forget_place(connection, address)

    def places(self) -> list[str]:
        """Return the addresses that are noted."""
        with self._database.read() as connection:
            return places(connection)

    def follow(self) -> None:
        """Bring every index to the present revision; one that does not serve stays behind, and that is told."""
        for address in self.places():
            try:
                self._bring_up(address)
            except OutsideError as error:
                logger.warning("%s; it stays behind until the gallery is next written", error)

    def rebuild(self) -> None:
        """Make every index anew from the database. Raises OutsideError for the last of those that do not serve."""
        failure: OutsideError | None = None
        for address in self.places():
            try:
                self._index(address).drop()
                self._bring_up(address)
            except OutsideError as error:
                logger.warning("%s; it was not made anew", error)
                failure = error
        if failure is not None:
            raise failure

    def erase(self) -> bool:
        """Get what was erased out of every index, and ask whether it is gone; False where one does not serve."""
        done = True
        for address in self.places():
            try:
                self._erase(self._index(address))
            except OutsideError as error:
                logger.warning("%s; what was erased may still be there, and goes when it serves again", error)
                done = False
        return done

    def searcher(self, address: str) -> OutsideSearch:
        """Return what searches by an index that is noted."""
        address = self._noted(address)
        self._require_noted(address)
        return OutsideSearch(self._index(address))

    def close(self) -> None:
        """Let go of every connection."""
        for index in self._open.values():
            index.close()
        self._open = {}

    def _index(self, address: str) -> OutsideIndex:
        if address not in self._open:
            with self._database.read() as connection:
                uuid = store.gallery_row(connection).uuid
            self._open[address] = open_outside(address, uuid, self._database.conninfo)
        return self._open[address]

    def _bring_up(self, address: str) -> None:
        index = self._index(address)
        with self._database.write() as connection:  # where there are several writers, one does it at a time
            follow(index, connection)

    def _erase(self, index: OutsideIndex) -> None:
        with self._database.write() as connection:
            mark, row = index.mark(), store.gallery_row(connection)
            if mark is not None and is_of(mark, connection, row):
                changed = changed_rows(mark, connection, row)
                take_out(index, changed[owners_of(connection, row, changed) < 0])
            follow(index, connection)
            index.scrub()

    def _noted(self, address: str) -> str:
        """Return an address as it is noted, or will be; older versions noted paths as they were typed."""
        return address if address in self.places() else settled(address)

    def _require_noted(self, address: str) -> None:
        if address not in self.places():
            raise GalleryError(
                f"this gallery keeps no index at {address}; `faceid gallery set index {address}` makes one"
            )
