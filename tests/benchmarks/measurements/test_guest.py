"""The measurement of a guest: what goes wrong under it is counted, and on the real engine nothing does."""

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks.measurements.guest_load import Load, put_under
from benchmarks.measurements.host_globals import changes, watch


def same(similarity):
    return SimpleNamespace(similarity=similarity, same=True)


def load_of(*answers):
    """A load with one question whose answers come one after the other; the first two are those of a single thread."""
    left = list(answers)

    def question():
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return Load([question], lambda: iter([("enrol", True), ("remove", False)]), lambda: 1)


def test_an_answer_of_another_state_is_right_and_one_of_no_state_is_wrong():
    right = put_under(load_of(same(0.1), same(0.2), same(0.2)), 1)
    assert (right.answers, right.wrong) == (1, [])
    wrong = put_under(load_of(same(0.1), same(0.2), same(0.3)), 1)
    assert (wrong.answers, len(wrong.wrong)) == (1, 1)


def test_errors_are_counted_by_their_class():
    tally = put_under(load_of(same(0.1), same(0.2), KeyError("x"), KeyError("y"), OSError("z")), 3)
    assert tally.errors == {"builtins.KeyError": 2, "builtins.OSError": 1}
    assert tally.answers == 0


def test_a_global_that_was_changed_is_named_with_what_it_was():
    read = watch()
    before = read()
    old = gc.get_threshold()
    try:
        gc.set_threshold(old[0] + 1)
        assert "gc" in changes(before, read())
    finally:
        gc.set_threshold(*old)
    assert changes(before, read()) == {}


@pytest.mark.slow
def test_a_few_seconds_of_the_engine_give_no_wrong_answer_no_error_and_no_changed_global():
    options = ["--minutes", "0.05", "--threads", "8", "--searches", "4", "--templates", "2000"]
    command = [sys.executable, "-m", "benchmarks.measurements.guest", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in ended.stdout.splitlines()]
    said = {cell[0]: cell[1] for cell in cells if len(cell) == 2}
    assert said["8 threads: wrong answers"] == said["8 threads: errors"] == "0"
    assert said["4 long searches of 2,000: answers"] == "4"
    assert said["globals changed"].startswith("0 of ")
