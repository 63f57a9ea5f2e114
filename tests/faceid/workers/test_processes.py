"""Workers of this machine: in order, each with one item at a time; who dies costs nothing but time."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from faceid.workers.crew import WorkersDied, WorkFailed
from faceid.workers.processes import process_crew
from indexer.errors import FaceIdError
from tests.faceid.workers import tools
from tests.interrupts import heard


def pairs(items):
    return ((f"kept {item}", item) for item in items)


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def gone_soon(process):
    for _ in range(100):
        if not is_there(process):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def crew():
    with process_crew(tools.make_tool, 2) as crew:
        yield crew


def test_results_come_in_order_beside_what_was_kept(crew):
    assert list(crew.map(tools.squared, pairs(range(20)))) == [(f"kept {n}", n * n) for n in range(20)]


def test_both_workers_work_and_neither_is_this_process(crew):
    processes = {process for _, (process, _) in crew.map(tools.who_squared, pairs(range(12)))}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_items_are_taken_only_as_the_work_goes_on(crew):
    taken = []
    results = crew.map(tools.squared, ((None, taken.append(n) or n) for n in range(100)))
    next(results)
    assert len(taken) <= 4
    list(results)


def test_a_map_may_feed_another(crew):
    first = crew.map(tools.squared, pairs(range(9)))
    assert [result for _, result in crew.map(tools.squared, first)] == [n**4 for n in range(9)]


def test_what_the_work_raises_is_raised_here_and_the_crew_goes_on(crew):
    with pytest.raises(FaceIdError, match="1 is odd"):
        list(crew.map(tools.squared_unless_odd, pairs(range(4))))
    with pytest.raises(WorkFailed, match="Local: a reason"):
        list(crew.map(tools.raise_what_cannot_be_sent, pairs([1])))
    assert [result for _, result in crew.map(tools.squared, pairs([3]))] == [9]


def test_a_killed_worker_is_told_and_only_what_it_had_in_hand_is_done_again(tmp_path):
    told = []
    with process_crew(tools.make_tool, 2, told.append) as crew:
        found = [result for _, result in crew.map(partial(tools.die_the_first_time, tmp_path), pairs(range(12)))]
    assert found == [n * n for n in range(12)]
    begun = {int(file.name): file.read_text().count("begun") for file in tmp_path.iterdir()}
    assert begun == {n: 2 if n == 5 else 1 for n in range(12)}
    assert len(told) == 1
    assert "was killed by SIGKILL; another takes its place" in told[0]


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_given_up_after_all_before_it_is_done():
    told, done = [], []
    with process_crew(tools.make_tool, 2, told.append) as crew, pytest.raises(WorkersDied, match="3 workers died over"):
        done.extend(result for _, result in crew.map(tools.die_over_five, pairs(range(9))))
    assert done == [] or done == [0, 1, 2, 3, 4]
    assert len(told) == 3


def test_a_tool_that_cannot_be_made_says_why():
    with process_crew(tools.make_nothing, 1) as crew, pytest.raises(FaceIdError, match="there is no model here"):
        list(crew.map(tools.squared, pairs([1])))


@pytest.mark.slow
def test_workers_that_die_before_they_begin_are_not_started_for_ever():
    told = []
    with process_crew(tools.die_at_once, 1, told.append) as crew, pytest.raises(WorkersDied, match="can be started"):
        list(crew.map(tools.squared, pairs([1])))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(tmp_path, how):
    script = (
        "from faceid.workers.processes import process_crew\n"
        "from tests.faceid.workers import tools\n"
        "if __name__ == '__main__':\n"
        "    with process_crew(tools.make_tool, 1) as crew:\n"
        f"        list(crew.map(tools.stay, [(None, {str(tmp_path / 'pid')!r})]))\n"
    )
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with heard():
        parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], env=environment, stderr=subprocess.DEVNULL)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(how)
    parent.wait(20)
    assert gone_soon(int((tmp_path / "pid").read_text()))


def test_an_item_that_cannot_be_sent_is_told_and_keeps_no_worker():
    """An error of the system's, as a damaged picture raises it, is no sign that the worker is dead."""
    with process_crew(tools.make_tool, 1) as crew:
        with pytest.raises(OSError, match="image file is truncated"):
            list(crew.map(tools.squared, pairs([2, tools.Unsendable()])))
        assert [result for _, result in crew.map(tools.squared, pairs([3]))] == [9]
