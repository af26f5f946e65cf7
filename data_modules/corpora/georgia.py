"""Georgia: 10,344 ECGs, mostly of 10 s, from the south-east of the United States."""

from __future__ import annotations

import re
from typing import ClassVar

from data_modules.corpora.challenge2020 import CHALLENGE_CITATION, CHALLENGE_ISSUES, Challenge2020Corpus
from data_modules.corpus import CorpusSpec


class Georgia(Challenge2020Corpus):
    """Reads the Georgia 12-lead ECG Challenge Database in the challenge-2020 layout.

    The ten labels are those of the study that is reproduced (arXiv 2402.02021); many records carry none of them and
    have an all-zero row. Patients are not known.
    """

    label_codes: ClassVar[dict[str, str]] = {
        "426783006": "NORM",
        "164889003": "AF",
        "270492004": "IAVB",
        "426177001": "SB",
        "39732003": "LAD",
        "427084000": "STach",
        "164934002": "TAb",
        "59931005": "TInv",
        "111975006": "LQT",
        "284470004": "PAC",
    }
    record_pattern: ClassVar[re.Pattern[str]] = re.compile(r"E\d{5}")
    spec = CorpusSpec(
        name="georgia",
        title="Georgia 12-lead ECG Challenge Database",
        version="1.0.2",
        url="https://physionet.org/content/challenge-2020/1.0.2/training/georgia/",
        licence="CC-BY-4.0",
        citation=CHALLENGE_CITATION,
        label_sets={"classes": tuple(label_codes.values())},
        sampling_rates=(500,),
        num_records=10_344,
        gain=1000.0,
        label_counts={
            "NORM": 1752,
            "AF": 570,
            "IAVB": 769,
            "SB": 1677,
            "LAD": 940,
            "STach": 1261,
            "TAb": 2306,
            "TInv": 812,
            "LQT": 1391,
            "PAC": 639,
        },
        known_issues=(
            "52 recordings are shorter than 10 s.",
            "Some dozens of samples are missing (code -32768).",
            "About 4 % of the records of folder g1 are exact duplicates of others.",
            *CHALLENGE_ISSUES,
        ),
    )
