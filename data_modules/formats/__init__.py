"""File formats of ECGs, one file each, behind `raw_record.Format`."""

from __future__ import annotations

from data_modules.formats import csv, dicom, edf, hdf5, numpy, wfdb
from data_modules.formats.raw_record import Format

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (wfdb.FORMAT, csv.FORMAT, numpy.NPY, numpy.NPZ, hdf5.FORMAT, edf.FORMAT, dicom.FORMAT)
}
"""Name -> reader."""
