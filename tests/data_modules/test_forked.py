"""Workers give what one process gives, in order, and pass errors on."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from data_modules.forked import forked_map
from data_modules.machine import start_time


def test_results_come_in_the_order_of_the_items() -> None:
    offset = 3  # a closure: it is inherited, not pickled
    squares = list(forked_map(lambda number: number**2 + offset, range(100), chunk=7))
    assert squares == [number**2 + 3 for number in range(100)]


def test_few_items_stay_in_this_process() -> None:
    assert set(forked_map(lambda _: os.getpid(), range(9), at_least=10)) == {os.getpid()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_many_items_leave_it() -> None:
    assert os.getpid() not in set(forked_map(lambda _: os.getpid(), range(20), at_least=10))


def test_an_error_of_a_worker_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(forked_map(lambda number: 1 / number, range(10)))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_worker_multiplies_matrices_in_one_thread() -> None:
    def blas_threads(_: int) -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    assert (np.eye(2) @ np.eye(2) == np.eye(2)).all()  # its library is loaded
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads(0) == {2}
        assert list(forked_map(blas_threads, range(4))) == [{1}] * 4
        assert blas_threads(0) == {2}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_workers_end_when_there_is_nothing_more_to_do() -> None:
    workers = set(forked_map(lambda _: os.getpid(), range(20)))
    deadline = time.monotonic() + 10
    while workers & {child.pid for child in multiprocessing.active_children()}:
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.02)


ORPHANS = """
import os, sys, time
from data_modules import forked
forked._num_cores = lambda: 2
def work(item):
    os.write(1, b'%d\\n' % os.getpid())  # in one piece: both workers write here
    time.sleep(60)
list(forked.forked_map(work, range(8)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_workers_die_with_their_parent_however_it_dies() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(start_time(pid) for pid in workers)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while any(start_time(pid) for pid in workers):
            assert time.monotonic() < deadline, "they live on"
            time.sleep(0.02)
