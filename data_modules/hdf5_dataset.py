"""A dataset of an HDF5 file that may come from anywhere, checked before anything is read."""

from __future__ import annotations

import math

import h5py

MAX_RATIO = 1032
"""How much smaller than its contents deflate can make a stream (zlib's own technical details)."""

FREE_BYTES = 2**30
"""Size of a compressed dataset up to which any ratio is accepted: filters other than deflate know no bound."""


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset of this name, after checking that it lies in this very file.

    An HDF5 file can name other files, whose contents it would show.

    Raises:
        ValueError: What is wrong, a clause.
    """
    place: h5py.Group = file
    for part in name.strip("/").split("/"):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"there is no dataset `{name}` in the file itself")
        place = place[part]
    dataset = place
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"`{name}` is no dataset that lies in the file itself")
    return dataset


def require_stored(dataset: h5py.Dataset) -> None:
    """Check that a dataset holds what it declares: a small HDF5 file can declare terabytes.

    Raises:
        ValueError: What is wrong, a clause.
    """
    stored, needed = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
    is_plain = dataset.id.get_create_plist().get_nfilters() == 0
    if stored < (needed if is_plain else max(1, (needed - FREE_BYTES) // MAX_RATIO)):
        raise ValueError(f"`{dataset.name.strip('/')}` holds {stored} of {needed} bytes")


def longest_read(dataset: h5py.Dataset) -> int:
    """Bytes that reading any part of a dataset takes at least: a chunk is unpacked whole."""
    return math.prod(dataset.chunks or ()) * dataset.dtype.itemsize if dataset.chunks else 0
