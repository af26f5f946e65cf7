"""HDF5 files written so that a full disk is an exception, which HDF5 itself does not manage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Literal

import h5py


@contextmanager
def hdf5_writer(path: Path, mode: Literal["w", "a"]) -> Iterator[h5py.File]:
    """Open an HDF5 file for writing through a stream that keeps the first error until HDF5 has let go of it.

    What HDF5 1.14 writes as it closes a file must not fail: the process then ends with a segmentation fault, and an
    error at the end of a dataset's life is printed and forgotten (both seen with h5py 3.16, a write refused at a time).

    Args:
        path: The file.
        mode: `w` makes it, `a` adds to it.

    Raises:
        OSError: Something could not be written; what the file then holds is worthless.
    """
    with _Patient(os.fspath(path), "w+b" if mode == "w" else "r+b") as stream:
        try:
            with h5py.File(stream, mode) as file:
                yield file
        finally:  # what else went wrong did so because of it
            if stream.error is not None:
                raise OSError(stream.error.errno, os.strerror(stream.error.errno or 0), str(path)) from stream.error


class _Patient(FileIO):
    """A file that remembers why it could not be written instead of saying so at once."""

    error: OSError | None = None

    def write(self, data: memoryview | bytes) -> int:  # type: ignore[override]
        """Write all of it, where a system may write a part."""
        whole = memoryview(data).cast("B")

        def write_all() -> None:
            left = whole
            while left:
                left = left[super(_Patient, self).write(left) :]

        self._try(write_all)
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        """Give it a length."""
        self._try(lambda: super(_Patient, self).truncate(size))
        return size or 0

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            self.error = self.error or error
