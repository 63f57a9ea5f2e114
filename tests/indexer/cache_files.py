"""The files of a gallery's cache as they lie there, read and written behind its back: plain, or sealed with its key."""

from contextlib import closing

from safetensors.numpy import load, save

from indexer.cache.index_manifest import read_manifest
from indexer.crypto.envelope import unlock
from indexer.crypto.keys import usual_key
from indexer.crypto.sealed import open_bytes, seal_bytes
from indexer.store.person_keys import open_keys, usual_person_keys


def manifest_of(folder):
    """What `index.json` says."""
    return read_manifest(folder, sealing_of(folder))


def arrays_of(file):
    """The arrays of a segment."""
    return load(content_of(file))


def write_arrays(file, arrays):
    """Put other arrays into a segment's place."""
    write_content(file, save(arrays))


def content_of(file):
    """What a file says, opened where it is sealed."""
    key = sealing_of(file.parent)
    return file.read_bytes() if key is None else open_bytes(key, file.name, file.read_bytes())


def write_content(file, content):
    """Put other content into a file's place, sealed where the gallery's are."""
    key = sealing_of(file.parent)
    file.write_bytes(content if key is None else seal_bytes(key, file.name, content))


def sealing_of(folder):
    """The key of a gallery's files; None for one that is not encrypted."""
    keys = unlock(folder, usual_key())
    if keys is None or keys.people is None:
        return None if keys is None else keys.files
    with closing(open_keys(folder, usual_person_keys(), keys, writable=False)) as people:
        return people.cache_key
