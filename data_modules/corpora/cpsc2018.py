"""CPSC2018: 6,877 ECGs of 6 to 144 s from eleven Chinese hospitals, nine classes."""

from __future__ import annotations

import re
from typing import ClassVar

from data_modules.corpora.challenge2020 import CHALLENGE_CITATION, CHALLENGE_ISSUES, Challenge2020Corpus
from data_modules.corpus import CorpusSpec


class CPSC2018(Challenge2020Corpus):
    """Reads the training set of the China Physiological Signal Challenge 2018 in the challenge-2020 layout.

    Codes and names of the nine classes: the challenge's SNOMED CT table; VEB is what it calls ventricular ectopics.
    Patients are not known.
    """

    label_codes: ClassVar[dict[str, str]] = {
        "426783006": "NORM",
        "164889003": "AF",
        "270492004": "IAVB",
        "164909002": "LBBB",
        "59118001": "RBBB",
        "284470004": "PAC",
        "164884008": "VEB",
        "429622005": "STD",
        "164931005": "STE",
    }
    record_pattern: ClassVar[re.Pattern[str]] = re.compile(r"A\d{4}")
    spec = CorpusSpec(
        name="cpsc2018",
        title="China Physiological Signal Challenge 2018 (CPSC2018)",
        version="1.0.2",
        url="https://physionet.org/content/challenge-2020/1.0.2/training/cpsc_2018/",
        licence="CC-BY-4.0",
        citation=(
            "Liu F, Liu C, Zhao L, et al. An open access database for evaluating the algorithms of electrocardiogram "
            "rhythm and morphology abnormality detection. Journal of Medical Imaging and Health Informatics 8:1368 "
            f"(2018). doi:10.1166/jmihi.2018.2442. {CHALLENGE_CITATION}"
        ),
        label_sets={"classes": tuple(label_codes.values())},
        sampling_rates=(500,),
        num_records=6877,
        gain=1000.0,
        label_counts={
            "NORM": 918,
            "AF": 1221,
            "IAVB": 722,
            "LBBB": 236,
            "RBBB": 1857,
            "PAC": 616,
            "VEB": 700,
            "STD": 869,
            "STE": 220,
        },
        known_issues=(
            "Six recordings are shorter than 10 s.",
            "cpsc_2018_extra is another set with other labels and no part of this one.",
            *CHALLENGE_ISSUES,
        ),
    )
