"""What any keeper of a gallery's truth must do: call `keeps_the_contract(create, open)` in a test of yours.

`create()` makes an empty gallery; `open_it(writable)` opens it, in this process, as a `Store`.
"""

import threading

import numpy as np
import pytest

from indexer.errors import GalleryError, GalleryLocked
from indexer.records import ModelBinding
from indexer.store import queries
from indexer.store.adding import add_templates
from tests.indexer.made_up_people import photo

MODEL = ModelBinding("made-up", "a" * 64, 16)


def keeps_the_contract(create, open_it):
    create()
    what_was_written_is_there_for_others_and_after_opening_again(open_it)
    a_write_that_fails_leaves_nothing(open_it)
    a_reader_sees_one_revision(open_it)
    one_writes_and_the_others_are_told(open_it)
    ids_are_never_given_twice(open_it)
    many_threads_read_while_one_writes(open_it)
    after_closing_nothing_works(open_it)


def enrol(store, name):
    with store.write() as connection:
        (added,) = add_templates(connection, [photo(name, name)], False)
    return added


def enrol_and_fail(store, name):
    with store.write() as connection:
        add_templates(connection, [photo(name, name)], False)
        raise ZeroDivisionError


def people(store):
    with store.read() as connection:
        return {one.name for one in queries.identities(connection, False)}


def revision(store):
    with store.read() as connection:
        return queries.revision(connection)


def what_was_written_is_there_for_others_and_after_opening_again(open_it):
    writer, reader = open_it(writable=True), open_it(writable=False)
    assert (writer.writable, reader.writable) == (True, False)
    before = revision(reader)
    added = enrol(writer, "Ann")
    assert people(reader) == {"Ann"}
    assert revision(reader) == before + 1
    with reader.read() as connection:
        vector = queries.vectors_of(connection, np.array([added.template_id]))
        assert vector.tobytes() == photo("Ann", "Ann").vector.tobytes(), "to the bit"
        with pytest.raises(GalleryError):
            reader.write().__enter__()
    writer.close()
    reader.close()
    again = open_it(writable=False)
    assert people(again) == {"Ann"}
    again.close()


def a_write_that_fails_leaves_nothing(open_it):
    writer = open_it(writable=True)
    before = revision(writer)
    with pytest.raises(ZeroDivisionError):
        enrol_and_fail(writer, "Bob")
    assert (people(writer), revision(writer)) == ({"Ann"}, before)
    writer.close()


def a_reader_sees_one_revision(open_it):
    writer, reader = open_it(writable=True), open_it(writable=False)
    with reader.read() as connection:
        before = queries.revision(connection)
        enrol(writer, "Cleo")
        assert queries.revision(connection) == before
        assert {one.name for one in queries.identities(connection, False)} == {"Ann"}
    assert people(reader) == {"Ann", "Cleo"}
    writer.close()
    reader.close()


def one_writes_and_the_others_are_told(open_it):
    writer = open_it(writable=True)
    with pytest.raises(GalleryLocked):
        open_it(writable=True)
    writer.close()
    open_it(writable=True).close()


def ids_are_never_given_twice(open_it):
    writer = open_it(writable=True)
    first = enrol(writer, "Dan")
    with pytest.raises(ZeroDivisionError):
        enrol_and_fail(writer, "Eve")
    second = enrol(writer, "Fay")
    assert second.template_id == first.template_id + 1, "what was undone leaves no gap: caches go by the last id"
    assert second.identity_id > first.identity_id
    writer.close()


def many_threads_read_while_one_writes(open_it):
    writer, reader = open_it(writable=True), open_it(writable=False)
    raised, done = [], threading.Event()

    def read():
        last = 0
        try:
            while not done.is_set():
                seen = revision(reader)
                assert seen >= last
                last = seen
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=read) for _ in range(24)]
    for thread in threads:
        thread.start()
    for number in range(10):
        enrol(writer, f"guest {number}")
    done.set()
    for thread in threads:
        thread.join()
    assert raised == []
    writer.close()
    reader.close()


def after_closing_nothing_works(open_it):
    store = open_it(writable=True)
    store.close()
    store.close()
    assert store.closed
    for use in (store.read, store.write):
        with pytest.raises(GalleryError, match="closed"):
            use().__enter__()
