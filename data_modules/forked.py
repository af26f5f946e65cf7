"""A map over all cores of the machine, for work that is pure computing or reading."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def forked_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, at_least: int = 2, chunk: int = 1
) -> Iterator[Result]:
    """Apply a function to each item, in order: in forked workers where that is safe and pays, else in this process.

    Forked workers inherit the function and all it refers to: nothing but items and results is pickled, and a user's
    script needs no `if __name__ == "__main__"`. They die with this process, however it ends; Ctrl-C is this process's
    to answer.

    Args:
        function: Any, also a closure.
        items: What it is applied to.
        at_least: Number of items from which workers are worth their start.
        chunk: Items that a worker takes at a time, neighbours of each other.
    """
    num_workers = min(_num_cores(), len(items) // chunk)
    if len(items) < at_least or num_workers < 2 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_inherit,
        initargs=(function, os.getpid()),
    )
    is_done = False
    try:
        with threadpool_limits(1, user_api="blas"):  # inherited: or each worker's products take a thread a core
            yield from pool.map(_apply, items, chunksize=chunk)
        is_done = True
    finally:  # idle workers end by themselves while this process goes on; waiting for it takes as long as a fork
        pool.shutdown(wait=not is_done, cancel_futures=True)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_inherited: Callable[[Any], Any] | None = None


PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


def _inherit(function: Callable[[Any], Any], parent: int) -> None:
    global _inherited
    _inherited = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was asked for
        os._exit(1)
    gc.freeze()  # looking for cycles among what was inherited would copy every page of it


def _apply(item: Any) -> Any:  # noqa: ANN401 - whatever the items are
    assert _inherited is not None
    return _inherited(item)
