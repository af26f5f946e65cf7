"""Where each corpus is published, and which of the published files its reader reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from data_modules.corpora import CORPORA

PHYSIONET = "https://physionet.org/files/"

PHYSIONET_MIRROR = "https://physionet-open.s3.amazonaws.com/"
"""The open copy that PhysioNet keeps on S3, with the same names below it."""

_TEXTS = r"LICENSE\.txt|RECORDS"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A corpus on its publisher's server. Sizes are rounded up and serve to look for room and to stop a flood."""

    base: str
    """Address that the files' names are appended to."""
    checksums: str
    """Address of the publisher's own list of files and checksums."""
    listing: Literal["sha256sums", "zenodo"] = "sha256sums"
    """Format of the list; of a Zenodo record the file is an archive, which is unpacked."""
    folder: str = ""
    """Part of the database that is wanted."""
    wanted: str
    """Pattern of the wanted names, below `folder`; of an archive's members in the end."""
    wanted_at: Mapping[int, str] = field(default_factory=dict)
    """The pattern for a single sampling rate, where there are several."""
    archive: str = ""
    """Pattern of the archive's name in a Zenodo record."""
    suffixes: tuple[str, ...] = ()
    """Of the files that each record has, at each rate."""
    num_records: int = 0
    """The list must name so many files of each suffix."""
    tables: tuple[str, ...] = ()
    """Files that the list must name besides."""
    num_bytes: int
    """Of all wanted files, about."""
    num_bytes_at: Mapping[int, int] = field(default_factory=dict)
    """The same for a single rate."""
    max_file_bytes: int
    hosts: tuple[str, ...] = ()
    """Further hosts of the publisher: redirects may lead there, by https only."""

    def select(self, rate: int | None) -> Publication:
        """The publication cut down to one sampling rate; None keeps all.

        Raises:
            ValueError: It is not published at that rate, or at one rate only.
        """
        if rate is None:
            return replace(self, num_records=self.num_records * max(len(self.wanted_at), 1))
        if rate not in self.wanted_at:
            choices = ", ".join(map(str, self.wanted_at)) or "none to choose"
            raise ValueError(f"there is no rate of {rate} Hz to choose; there are: {choices}")
        return replace(self, wanted=self.wanted_at[rate], num_bytes=self.num_bytes_at[rate], wanted_at={})


def _physionet(
    database: str,
    *,
    wanted: str,
    suffixes: tuple[str, ...],
    num_records: int,
    num_bytes: int,
    folder: str = "",
    max_file_bytes: int,
) -> Publication:
    base = f"{PHYSIONET}{database}/"
    return Publication(
        base=base,
        checksums=f"{base}SHA256SUMS.txt",
        folder=folder,
        wanted=wanted,
        suffixes=suffixes,
        num_records=num_records,
        num_bytes=num_bytes,
        max_file_bytes=max_file_bytes,
        hosts=("physionet.org", "www.physionet.org"),
    )


def _ptbxl() -> Publication:
    tables = rf"ptbxl_database\.csv|scp_statements\.csv|{_TEXTS}"
    at = {rate: rf"records{rate}/\d{{5}}/\d{{5}}_{suffix}\.(dat|hea)" for rate, suffix in ((100, "lr"), (500, "hr"))}
    both = _physionet(
        "ptb-xl/1.0.3",
        wanted="|".join([tables, *at.values()]),
        suffixes=("dat", "hea"),
        num_records=CORPORA["ptbxl"].spec.num_records,
        num_bytes=3_300_000_000,
        max_file_bytes=50_000_000,
    )
    return replace(
        both,
        wanted_at={rate: f"{tables}|{pattern}" for rate, pattern in at.items()},
        num_bytes_at={100: 600_000_000, 500: 2_700_000_000},
        tables=("ptbxl_database.csv", "scp_statements.csv"),
    )


PUBLICATIONS: dict[str, Publication] = {
    "ptbxl": _ptbxl(),
    "cpsc2018": _physionet(
        "challenge-2020/1.0.2",
        folder="training/cpsc_2018/",
        wanted=r"g\d+/A\d{4}\.(hea|mat)",
        suffixes=("hea", "mat"),
        num_records=CORPORA["cpsc2018"].spec.num_records,
        num_bytes=1_500_000_000,
        max_file_bytes=5_000_000,
    ),
    "georgia": _physionet(
        "challenge-2020/1.0.2",
        folder="training/georgia/",
        wanted=r"g\d+/E\d{5}\.(hea|mat)",
        suffixes=("hea", "mat"),
        num_records=CORPORA["georgia"].spec.num_records,
        num_bytes=1_400_000_000,
        max_file_bytes=5_000_000,
    ),
    "ptb": _physionet(
        "ptbdb/1.0.0",
        wanted=rf"patient\d+/[\w-]+\.(dat|hea|xyz)|{_TEXTS}|CONTROLS|SUBJECTS",
        suffixes=("dat", "hea", "xyz"),
        num_records=CORPORA["ptb"].spec.num_records,
        num_bytes=2_000_000_000,
        max_file_bytes=20_000_000,
    ),
    "ribeiro": Publication(
        base="https://zenodo.org/records/3765780/files/",
        checksums="https://zenodo.org/api/records/3765780",
        listing="zenodo",
        archive=r"data\.zip",
        wanted=r"ecg_tracings\.hdf5|annotations/\w+\.csv|attributes\.csv|README\.md",
        num_bytes=800_000_000,
        max_file_bytes=500_000_000,
        hosts=("zenodo.org", "www.zenodo.org"),
    ),
}
"""By name of the corpus. Looked up on the publishers' pages; the sizes are those of their pages, or follow from rates
and lengths."""
