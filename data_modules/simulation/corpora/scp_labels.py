"""Which SCP statements a simulated PTB-XL record carries, and what each one does to the heart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_modules.simulation.prevalence import deal, quotas

PUBLISHED = 21837
SUPERCLASSES = {"NORM": 9528, "MI": 5486, "STTC": 5250, "HYP": 2655, "CD": 4907}
"""Published records of each."""

CONDITIONS_OF: dict[str, tuple[str, ...]] = {
    "NORM": ("NORM",),
    "IMI": ("IMI",),
    "ASMI": ("AMI",),
    "ILMI": ("IMI", "LMI"),
    "AMI": ("AMI",),
    "ALMI": ("AMI", "LMI"),
    "INJAS": ("AMI_ACUTE",),
    "LMI": ("LMI",),
    "IPMI": ("IMI", "PMI"),
    "INJIN": ("IMI_ACUTE",),
    "PMI": ("PMI",),
    "NDT": ("TAB",),
    "ISC_": ("ISC",),
    "NST_": ("STD",),
    "LNGQT": ("LQT",),
    "LVH": ("LVH",),
    "LAO/LAE": ("LAE",),
    "RVH": ("RVH",),
    "RAO/RAE": ("RAE",),
    "LAFB": ("LAFB",),
    "IRBBB": ("IRBBB",),
    "1AVB": ("IAVB",),
    "IVCD": ("IVCD",),
    "CRBBB": ("RBBB",),
    "CLBBB": ("LBBB",),
    "LPFB": ("LPFB",),
    "WPW": ("WPW",),
    "SR": (),
    "AFIB": ("AF",),
    "STACH": ("STACH",),
    "SARRH": ("SARRH",),
    "SBRAD": ("SB",),
    "AFLT": ("AFLT",),
    "PACE": ("PACE",),
    "PVC": ("PVC",),
    "PAC": ("PAC",),
    "VCLVH": ("HVOLT",),
    "LVOLT": ("LVOLT",),
    "QWAVE": ("QWAVE",),
    "LPR": ("IAVB",),
    "INVT": ("TINV",),
    "LOWT": ("LOWT",),
    "ABQRS": (),
    "STD_": (),
}
"""Statement -> conditions. Sinus rhythm needs none; `ABQRS` and `STD_` only name what another statement brings."""

STATEMENTS = {
    "NORM": {"NORM": 1},
    "MI": {
        "IMI": 2685,
        "ASMI": 2363,
        "ILMI": 479,
        "AMI": 354,
        "ALMI": 290,
        "INJAS": 215,
        "LMI": 201,
        "IPMI": 33,
        "INJIN": 18,
        "PMI": 17,
    },
    "STTC": {"NDT": 1829, "ISC_": 1275, "NST_": 770, "LNGQT": 118},
    "HYP": {"LVH": 2137, "LAO/LAE": 427, "RVH": 126, "RAO/RAE": 99},
    "CD": {
        "LAFB": 1626,
        "IRBBB": 1118,
        "1AVB": 797,
        "IVCD": 789,
        "CRBBB": 542,
        "CLBBB": 536,
        "LPFB": 177,
        "WPW": 80,
    },
}
"""The superclasses' statements with their published numbers."""

RHYTHMS = {"AFIB": 1514, "STACH": 826, "SARRH": 772, "SBRAD": 637, "PACE": 296, "AFLT": 73}
FORMS = {"PVC": 1146, "VCLVH": 875, "QWAVE": 548, "LOWT": 438, "PAC": 398, "LPR": 340, "INVT": 294, "LVOLT": 182}
"""Published numbers; all other records are in sinus rhythm."""
BENIGN = frozenset({"STACH", "SARRH", "SBRAD", "PVC", "PAC", "VCLVH", "LPR"})
"""What a normal ECG may carry beside NORM, as in the authentic table."""
SHAPES = frozenset({"LAFB", "LPFB", "RVH", "WPW", "CLBBB", "PACE"})
FORBIDS: dict[str, frozenset[str]] = {
    "AFIB": frozenset({"1AVB", "LAO/LAE", "RAO/RAE", "WPW", "NORM"}),
    "AFLT": frozenset({"1AVB", "LAO/LAE", "RAO/RAE", "WPW", "NORM"}),
    "PACE": frozenset(CONDITIONS_OF) - {"PACE"},
    "PAC": frozenset({"AFIB", "AFLT", "PACE", "SARRH"}),
    "PVC": frozenset({"PACE"}),
    "VCLVH": frozenset({"LVOLT", "RVH", "CLBBB", "PACE"}),
    "QWAVE": frozenset({"IMI", "ILMI", "LMI", "PACE", "CLBBB"}),
    "LOWT": frozenset({"ISC_", "LNGQT", "CLBBB", "PACE", "INVT"}),
    "INVT": frozenset({"NDT", "CLBBB", "PACE", "LOWT"}),
    "LVOLT": frozenset({"LVH", "RVH", "VCLVH", "PACE", "CLBBB"}),
    "LPR": frozenset({"1AVB", "AFIB", "AFLT", "PACE", "WPW"}),
    "SBRAD": frozenset({"STACH"}),
}
"""What a rhythm or form statement cannot join."""


class ScpRecord(NamedTuple):
    """One record's labels."""

    superclasses: tuple[str, ...]
    codes: tuple[str, ...]
    """SCP statements: diagnostic ones, then forms, then the rhythm."""


def deal_scp_records(num_records: int, rng: np.random.Generator) -> list[ScpRecord]:
    """Superclasses with the published prevalence, then statements within each, then rhythms and forms."""
    dealt = deal(quotas(SUPERCLASSES, PUBLISHED, num_records), num_records, rng, single=0.55)
    codes = [draw_statements(superclasses, rng) for superclasses in dealt]
    for number, (statement, quota) in enumerate(quotas(RHYTHMS | FORMS, PUBLISHED, num_records).items()):
        is_rhythm = number < len(RHYTHMS)
        add_statement(codes, statement, quota, is_rhythm=is_rhythm, rng=rng)
    return [ScpRecord(superclasses, finish(found, rng)) for superclasses, found in zip(dealt, codes, strict=True)]


def draw_statements(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """One statement of each superclass, sometimes two of MI, none that would overwrite another one's QRS."""
    found: list[str] = []
    for superclass in superclasses:
        weights = dict(STATEMENTS[superclass])
        if SHAPES & set(found):
            weights = {code: weight for code, weight in weights.items() if code not in SHAPES}
        names = list(weights)
        probabilities = np.array(list(weights.values())) / sum(weights.values())
        number = 2 if superclass == "MI" and rng.random() < 0.15 else 1
        found += [str(code) for code in rng.choice(names, number, replace=False, p=probabilities)]
    return found


def add_statement(
    codes: list[list[str]], statement: str, quota: int, *, is_rhythm: bool, rng: np.random.Generator
) -> None:
    """Give a rhythm or form to so many of the records that may have it, in place."""
    forbidden = FORBIDS.get(statement, frozenset())
    taken = set(RHYTHMS) if is_rhythm else set()
    given = 0
    for index in rng.permutation(len(codes)):
        found = set(codes[index])
        is_open = not found & (forbidden | taken) and ("NORM" not in found or statement in BENIGN)
        if given < quota and is_open:
            codes[index].append(statement)
            given += 1


def finish(found: list[str], rng: np.random.Generator) -> tuple[str, ...]:
    """Add what follows from the other statements: abnormal QRS, ST depression, sinus rhythm."""
    codes = list(found)
    if (set(STATEMENTS["MI"]) | {"LAFB", "IVCD"}) & set(codes) and rng.random() < 0.45:
        codes.append("ABQRS")
    if {"ISC_", "NST_"} & set(codes) and rng.random() < 0.4:
        codes.append("STD_")
    if not set(RHYTHMS) & set(codes):
        codes.append("SR")
    rhythm = [code for code in codes if code in RHYTHMS or code == "SR"]
    return (*(code for code in codes if code not in rhythm), *rhythm)
