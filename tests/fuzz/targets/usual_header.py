"""A `.hea` read in one look, and its comment by itself: what the parser of all headers says, or left to that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_modules.corpus import RecordError
from data_modules.usual_header import usual_header
from data_modules.wfdb_header import read_comment, read_header

REFUSALS = (RecordError,)
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def seeds(folder: Path) -> Iterator[bytes]:
    challenge = "\n".join(f"r.mat 16+24 1000/mV 16 0 -5 {7 * len(lead)} 0 {lead}" for lead in LEADS)
    yield f"r 12 500 5000 05-May-2020 14:50:55\n{challenge}\n#Age: 74\n#Dx: 426783006,1\n".encode()
    ptbxl = "\n".join(f"r.dat 16 1000.0(0)/mV 16 0 -119 64758 0 {lead.upper()}" for lead in LEADS)
    yield f"r 12 100 1000\n{ptbxl}\n".encode()


def check(data: bytes, folder: Path) -> None:
    (folder / "r.hea").write_bytes(data)
    found, comment = usual_header(data), read_comment(folder / "r.hea", "Dx")
    try:
        header = read_header(folder / "r.hea")
    except RecordError:
        assert found is None, found
        raise
    assert comment == header.comment("Dx")
    if found is None:
        return
    assert [line.name.casefold() for line in header.signals] == [lead.casefold() for lead in LEADS]
    assert (found.sampling_rate, found.num_samples) == (header.sampling_rate, header.num_samples or 0)
    described = [(found.file_name, ("16", 1, 0, found.byte_offset), 0)] * len(LEADS)
    assert [(line.file_name, line.storage, line.baseline) for line in header.signals] == described
    assert [repr(line.gain) for line in header.signals] == [repr(found.gain)] * len(LEADS)  # a NaN is as the other
    assert tuple(line.initial_value for line in header.signals) == found.initial_values
    assert tuple(line.checksum for line in header.signals) == found.checksums
