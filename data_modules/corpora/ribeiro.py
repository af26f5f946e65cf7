"""CODE-test (Ribeiro): 827 ECGs of 7 or 10 s from Minas Gerais with a consensus of cardiologists as labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.corpora.published_table import read_csv
from data_modules.corpus import LEAD_NAMES, Corpus, CorpusFormatError, CorpusSpec, Record, RecordError, RecordTable
from data_modules.formats.raw_record import file_size, refuse_expansion
from data_modules.hdf5_dataset import longest_read, own_dataset, require_stored
from data_modules.quality import MAX_IDENTITY_RESIDUAL, identity_residual, typical_amplitude

Unit = Literal["mV", "1e-4V", "uV", "V"]

_MILLIVOLTS: dict[str, float] = {"mV": 1.0, "1e-4V": 0.1, "uV": 1e-3, "V": 1e3}
_TRACINGS = "ecg_tracings.hdf5"
_ANNOTATIONS = "annotations/gold_standard.csv"
_NUM_SAMPLES = 4096
_AUGMENTED = (3, 4, 5)
"""Columns that hold aVR, aVL and aVF, in an order that the published descriptions do not agree on."""

_NUM_PROBED = 100
"""Records, evenly spread, from which lead order and unit are checked."""

_LEAD_II_MILLIVOLTS = (0.3, 5.0)
"""Where the median peak-to-peak voltage of lead II of a corpus of adults lies for sure."""


class Ribeiro(Corpus):
    """Reads CODE-test as Zenodo publishes it: `ecg_tracings.hdf5` and `annotations/gold_standard.csv`.

    The tracings, (827, 4096, 12) at 400 Hz, are zero-padded on both sides; `read` gives what was recorded, without
    them. Their unit is described as "1e-4V: so if the signal is in V it should be multiplied by 1000", which cannot
    both be true; the authors settle it as millivolts (github.com/antonior92/automatic-ecg-diagnosis, issue 3), and the
    amplitudes are checked against that. The order of aVR, aVL and aVF is taken from the data
    by Goldberger's identities.

    Args:
        root: The corpus's own folder, as published.
        label_set: See `Corpus`.
        sampling_rate: See `Corpus`.
        unit: Of the numbers in the file, where a copy has another one.
    """

    spec = CorpusSpec(
        name="ribeiro",
        title="CODE-test (Ribeiro et al.)",
        version="1.0.2",
        url="https://doi.org/10.5281/zenodo.3765780",
        licence="CC-BY-4.0",
        citation=(
            "Ribeiro AH, Ribeiro MH, Paixão GMM, et al. Automatic diagnosis of the 12-lead ECG using a deep neural "
            "network. Nature Communications 11:1760 (2020). doi:10.1038/s41467-020-15432-4"
        ),
        label_sets={"classes": ("NORM", "1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")},
        sampling_rates=(400,),
        num_records=827,
        label_counts={"NORM": 681, "1dAVb": 28, "RBBB": 34, "LBBB": 30, "SB": 16, "AF": 13, "ST": 37},
        short="pad",
        known_issues=(
            "NORM means none of the six abnormalities, which is not the same as a normal ECG.",
            "The unit is described as 1e-4 V and, in the same sentence, as millivolts; it is millivolts.",
            "Copies of the description differ in the order of aVR, aVL and aVF.",
            "Recordings of 7 s and 10 s are zero-padded on both sides to 4096 samples.",
        ),
    )

    def __init__(
        self, root: Path, *, label_set: str | None = None, sampling_rate: int | None = None, unit: Unit = "mV"
    ) -> None:
        if unit not in get_args(Unit):
            raise ValueError(f"unit {unit!r} is not known; choose one of: {', '.join(get_args(Unit))}")
        super().__init__(root, label_set=label_set, sampling_rate=sampling_rate)
        self.unit = unit

    def reading_options(self) -> dict[str, int | float | str]:
        """The rate and the unit."""
        return super().reading_options() | {"unit": self.unit}

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether a copy, complete or not, lies in `root`."""
        return (root / _TRACINGS).is_file() and (root / _ANNOTATIONS).is_file()

    @classmethod
    def expected_layout(cls) -> str:
        """Say which files were looked for."""
        return f"looked for {_TRACINGS} and {_ANNOTATIONS} in it; unpack the archive of {cls.spec.url} there"

    def _read_table(self) -> RecordTable:
        record_ids = tuple(f"{row:04d}" for row in range(len(self._abnormal)))
        labels = np.column_stack([~self._abnormal.any(axis=1), self._abnormal])
        notices: tuple[str, ...] = ()
        if self._lead_order != tuple(range(12)):
            found = ", ".join(LEAD_NAMES[self._lead_order.index(column)] for column in _AUGMENTED)
            notices = (
                f"{_TRACINGS} holds the augmented leads as {found}, by Goldberger's identities; they are read so",
            )
        return RecordTable(
            record_ids=record_ids,
            labels=labels.astype(np.uint8),
            label_names=self.label_names,
            files=(_TRACINGS,) * len(record_ids),
            patient_ids=record_ids,
            notices=notices,
        )

    @cached_property
    def _abnormal(self) -> NDArray[np.bool_]:
        return _read_annotations(self.root / _ANNOTATIONS, self.label_names[1:])

    @cached_property
    def _lead_order(self) -> tuple[int, ...]:
        """For each canonical lead its column, after the unit was found plausible.

        Raises:
            CorpusFormatError: The tracings are no millivolts, or their leads satisfy the identities in no order.
        """
        path = self.root / _TRACINGS
        rows = np.unique(np.linspace(0, len(self._abnormal) - 1, _NUM_PROBED).round().astype(int))
        with _open_tracings(path, len(self._abnormal)) as tracings:
            signals = [_recorded(tracings, int(row), _MILLIVOLTS[self.unit]) for row in rows]
        signals = [signal for signal in signals if signal.shape[1] > 0 and np.isfinite(signal).all()]
        heights = [typical_amplitude(signal[1:2], self.sampling_rate) for signal in signals]
        height = float(np.median(heights)) if heights else float("nan")
        low, high = _LEAD_II_MILLIVOLTS
        if not low <= height <= high:
            raise CorpusFormatError(
                f"lead II in {path} is {height:.3g} mV high (median) if the numbers are {self.unit}, expected {low} to "
                f"{high} mV; if they have another unit, read it with unit= one of: {', '.join(get_args(Unit))}"
            )
        return _find_lead_order(signals, path)

    def read(self, record_id: str) -> Record:
        """Read one record of `table`; see `Corpus.read`."""
        row = int(record_id)
        order = list(self._lead_order)
        # opened for each record: an HDF5 handle survives neither pickling nor a fork, and opening takes under 1 ms
        with _open_tracings(self.root / _TRACINGS, len(self._abnormal)) as tracings:
            signal = _recorded(tracings, row, _MILLIVOLTS[self.unit])
        if signal.shape[1] == 0:
            raise RecordError("flat", f"tracing {row} holds nothing but zeros")
        return Record(record_id=record_id, signal=signal[order], sampling_rate=self.sampling_rate)


def _read_annotations(path: Path, label_names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Read the consensus of the cardiologists as (records, abnormalities), columns as `label_names`."""
    (_, header), *lines = list(read_csv(path)) or [(0, [])]
    missing = [name for name in label_names if name not in header]
    if missing:
        raise CorpusFormatError(f"{path} has no column {', '.join(missing)}; it has: {', '.join(header)}")
    positions = [header.index(name) for name in label_names]
    rows = [[row[position] for position in positions] if len(row) == len(header) else [""] for _, row in lines]
    if not rows or any(value not in ("0", "1") for row in rows for value in row):
        raise CorpusFormatError(f"{path} should hold rows of 0 and 1; fetch it again")
    return np.array(rows, dtype=np.uint8).astype(bool)


@contextmanager
def _open_tracings(path: Path, num_records: int) -> Iterator[h5py.Dataset]:
    """Open the dataset of tracings, after checking that it is what it should be and lies in this very file.

    Raises:
        CorpusFormatError: It is no plain (records, 4096, 12) array of floats, or its number of records is another.
    """
    try:
        file_size(path)
        with h5py.File(path, "r") as file:
            yield _checked_tracings(file, (num_records, _NUM_SAMPLES, 12))
    except CorpusFormatError:
        raise
    except Exception as error:  # h5py raises whatever the library stumbles over in a broken file
        raise CorpusFormatError(f"{path}: {' '.join(str(error).split())}; fetch it again") from error


def _checked_tracings(file: h5py.File, shape: tuple[int, int, int]) -> h5py.Dataset:
    tracings = own_dataset(file, "tracings")
    if tracings.shape != shape:
        raise ValueError(f"`tracings` has shape {tracings.shape}, expected {shape} (records as in {_ANNOTATIONS})")
    if tracings.dtype.kind != "f" or tracings.dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"`tracings` has type {tracings.dtype}, expected floating point numbers")
    require_stored(tracings)
    refuse_expansion("`tracings`", longest_read(tracings), tracings.id.get_storage_size())
    return tracings


def _recorded(tracings: h5py.Dataset, row: int, millivolts: float) -> NDArray[np.float32]:
    """Read one tracing as (12, samples) in millivolts, without the zeros in front and behind."""
    tracing = tracings[row].T.astype(np.float32) * np.float32(millivolts)
    (present,) = np.nonzero(tracing.any(axis=0))
    if present.size == 0:
        return np.zeros((12, 0), dtype=np.float32)
    return np.ascontiguousarray(tracing[:, present[0] : present[-1] + 1])


def _find_lead_order(signals: list[NDArray[np.float32]], path: Path) -> tuple[int, ...]:
    """Find the order of the augmented leads in which the limb leads fit together best, in the median record."""
    residuals: dict[tuple[int, ...], float] = {}
    for augmented in permutations(_AUGMENTED):
        order = (0, 1, 2, *augmented, *range(6, 12))
        residuals[order] = float(np.median([identity_residual(signal[list(order)]) for signal in signals]))
    best = min(residuals, key=residuals.__getitem__)
    if residuals[best] > MAX_IDENTITY_RESIDUAL:
        raise CorpusFormatError(
            f"the limb leads in {path} satisfy Einthoven's and Goldberger's identities in no order of the augmented "
            f"leads (smallest median residual {residuals[best]:.2f}, at most {MAX_IDENTITY_RESIDUAL}); fetch it again"
        )
    return best
