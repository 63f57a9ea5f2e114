"""An engine elsewhere that is none: it does what any must, and has the faults that it is told to have."""

import numpy as np

from indexer.outside.outside import Listed, OutsideError


class Server:
    """What every connection to it sees; `faults` are looked at with every call."""

    def __init__(self):
        self.vectors, self.noted, self.scrubbed = {}, None, 0
        self.faults, self.calls = set(), []
        self.dies_at = None

    def open(self, address, gallery, _home=None):
        return FakeIndex(self, address)


class FakeIndex:
    exhaustive = True

    def __init__(self, server, address):
        self.server, self.address = server, address
        self.exhaustive = "#" not in address

    def _call(self, name):
        self.server.calls.append(name)
        if "down" in self.server.faults:
            raise OutsideError(f"{self.address} does not serve: it is down")
        if self.server.dies_at == len(self.server.calls):
            raise KeyboardInterrupt

    def mark(self):
        self._call("mark")
        return self.server.noted

    def count(self):
        self._call("count")
        return len(self.server.vectors)

    def make(self, model, dimension):
        self._call("make")
        self.server.vectors, self.server.noted = {}, None

    def put(self, ids, vectors):
        self._call("put")
        if "loses" in self.server.faults:
            ids, vectors = ids[1:], vectors[1:]
        self.server.vectors.update(zip(ids.tolist(), vectors.copy(), strict=True))

    def settle(self):
        self._call("settle")

    def remove(self, ids):
        self._call("remove")
        if "keeps" not in self.server.faults:
            for one in ids.tolist():
                self.server.vectors.pop(one, None)

    def set_mark(self, mark):
        self._call("set_mark")
        self.server.noted = mark

    def shortlist(self, queries, width):
        self._call("shortlist")
        ids = np.array(sorted(self.server.vectors), np.int64)
        if "blind" in self.server.faults:  # holds them, and does not find them
            ids = ids[::2]
        if not len(ids):
            return Listed(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        vectors = np.array([self.server.vectors[one] for one in ids.tolist()], np.float32)
        scores = queries @ vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        ids, scores = ids[best], np.take_along_axis(scores, best, 1)
        if "invents" in self.server.faults:
            ids[:, 0] = 10**6
        if "scores" in self.server.faults:
            scores = scores - np.float32(0.01)
        if "twice" in self.server.faults and ids.shape[1] > 1:
            ids[:, 1] = ids[:, 0]
        return Listed(ids, scores)

    def held(self, ids):
        self._call("held")
        return np.array([one for one in ids.tolist() if one in self.server.vectors], np.int64)

    def scrub(self):
        self._call("scrub")
        self.server.scrubbed += 1

    def drop(self):
        self._call("drop")
        self.server.vectors, self.server.noted = {}, None

    def close(self):
        pass
