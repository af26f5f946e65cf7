"""CPSC2018 and Georgia as challenge-2020 publishes them: `gN/NAME.hea` and a MATLAB-v4 `gN/NAME.mat`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES
from data_modules.simulation.corpora.cast import Order, spread_numbers
from data_modules.simulation.noise import NoiseLevel
from data_modules.simulation.person import Person
from data_modules.simulation.prevalence import add_incidental, deal, drop_overcalls, quotas
from data_modules.simulation.recording import simulate_recording
from data_modules.simulation.wfdb_files import MISSING, quantise, signal_line, write_mat

SAMPLING_RATE = 500
GAIN = 1000
RECORDS_PER_FOLDER = 1000
SHARE_OVERCALLED = 0.04
"""Labels with nothing behind them, an assumption: readers of ECGs disagree by some per cent."""

LengthRule = Callable[[int, np.random.Generator], list[int]]


@dataclass(frozen=True, kw_only=True)
class CincCorpus:
    """What sets one corpus of the challenge apart from the others."""

    prefix: str
    digits: int
    published: int
    date: str
    """The date that all headers carry."""
    labels: dict[str, tuple[str, int]]
    """SNOMED code of each label -> our condition, published records."""
    others: dict[str, tuple[str, int]]
    """The same for codes that are no labels of the study; their numbers are approximate."""
    exclusive: tuple[frozenset[str], ...]
    """Conditions of which a record has one at most."""
    single: float
    """See `deal`."""
    lengths: LengthRule
    """From (records, generator) the samples of each."""
    incidental: float
    """Share of records with a finding that is no label, see `add_incidental`."""
    noise: NoiseLevel
    comments: tuple[str, ...]
    """Comment lines behind `#Dx`."""


def cpsc_lengths(num_records: int, rng: np.random.Generator) -> list[int]:
    """Mostly 10 s, a tail to 60 s, a few from 6 s on; the published ones reach 144 s and have a median of 12 s."""
    tail = 10 + rng.gamma(1.2, 6.0, num_records)
    seconds = np.where(rng.random(num_records) < 0.5, 10.0, np.clip(tail, 10.0, 60.0))
    short = rng.permutation(num_records)[: max(1, num_records // 100)]
    seconds[short] = rng.uniform(6.0, 9.9, len(short))
    return [int(value * SAMPLING_RATE) for value in seconds]


def georgia_lengths(num_records: int, rng: np.random.Generator) -> list[int]:
    """10 s, but for one in two hundred (52 of 10,344 published ones are shorter)."""
    samples = np.full(num_records, 5000)
    short = rng.permutation(num_records)[: max(1, num_records // 200)]
    samples[short] = rng.integers(2500, 5000, len(short))
    return samples.tolist()


RHYTHMS = (
    frozenset({"AF", "AFLT", "SB", "STACH", "SARRH"}),
    frozenset({"AF", "IAVB", "PAC"}),
    frozenset({"AFLT", "IAVB"}),
    frozenset({"AFLT", "PAC"}),
)
BUNDLES = frozenset({"LBBB", "RBBB", "IRBBB"})

CPSC2018 = CincCorpus(
    prefix="A",
    digits=4,
    published=6877,
    date="12-May-2020 12:33:59",
    labels={
        "426783006": ("NORM", 918),
        "164889003": ("AF", 1221),
        "270492004": ("IAVB", 722),
        "164909002": ("LBBB", 236),
        "59118001": ("RBBB", 1857),
        "284470004": ("PAC", 616),
        "164884008": ("PVC", 700),
        "429622005": ("STD", 869),
        "164931005": ("STE", 220),
    },
    others={},
    exclusive=(*RHYTHMS, BUNDLES, frozenset({"STD", "STE"})),
    single=0.94,
    lengths=cpsc_lengths,
    incidental=0.4,
    noise=NoiseLevel(baseline=0.045, muscle=0.005, mains=0.002, mains_frequency=50.0, amplifier=0.001, spread=0.8),
    comments=("#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"),
)

GEORGIA = CincCorpus(
    prefix="E",
    digits=5,
    published=10344,
    date="05-May-2020 14:50:55",
    labels={
        "426783006": ("NORM", 1752),
        "164889003": ("AF", 570),
        "270492004": ("IAVB", 769),
        "426177001": ("SB", 1677),
        "39732003": ("LAD", 940),
        "427084000": ("STACH", 1261),
        "164934002": ("TAB", 2306),
        "59931005": ("TINV", 812),
        "111975006": ("LQT", 1391),
        "284470004": ("PAC", 639),
    },
    others={
        "164873001": ("LVH", 1232),
        "67741000119109": ("LAE", 870),
        "59118001": ("RBBB", 542),
        "164930006": ("STD", 481),
        "164917005": ("QWAVE", 464),
        "427393009": ("SARRH", 455),
        "713426002": ("IRBBB", 407),
        "251146004": ("LVOLT", 374),
        "427172004": ("PVC", 357),
        "164909002": ("LBBB", 231),
        "164890007": ("AFLT", 186),
        "445118002": ("LAFB", 180),
        "47665007": ("RAD", 83),
    },
    exclusive=(
        *RHYTHMS,
        BUNDLES,
        frozenset({"LAD", "RAD"}),
        frozenset({"LAFB", "RAD", "LBBB"}),
        frozenset({"TAB", "TINV"}),
        frozenset({"LVH", "LVOLT"}),
        frozenset({"LBBB", "TAB"}),
        frozenset({"LBBB", "TINV"}),
    ),
    single=0.5,
    lengths=georgia_lengths,
    incidental=0.0,
    noise=NoiseLevel(baseline=0.025, muscle=0.004, mains=0.001, mains_frequency=60.0, amplifier=0.0015),
    comments=("#Rx: Unknown", "#Hx: Unknown"),
)


def write_cpsc2018(order: Order) -> None:
    """Fill a folder in CPSC2018's layout."""
    write_cinc(order, CPSC2018)


def write_georgia(order: Order) -> None:
    """Fill a folder in Georgia's layout."""
    write_cinc(order, GEORGIA)


def write_cinc(order: Order, corpus: CincCorpus) -> None:
    """Write headers, signals and one RECORDS file a folder.

    Record numbers are spread over the published range, so that a small corpus too has all of g1, g2, ...
    """
    code_of = {condition: code for code, (condition, _) in (corpus.labels | corpus.others).items()}
    dealt = deal_conditions(order, corpus)
    hearts = add_incidental(dealt, corpus.incidental, order.cast.generator("incidental"))
    hearts = drop_overcalls(hearts, SHARE_OVERCALLED, order.cast.generator("overcalls"))
    lengths = corpus.lengths(order.num_records, order.cast.generator("lengths"))
    numbers = spread_numbers(order.num_records, corpus.published)
    names: dict[Path, list[str]] = {}
    earlier: NDArray[np.int16] | None = None
    for index, (number, conditions) in enumerate(zip(numbers, dealt, strict=True)):
        folder = order.root / f"g{number // RECORDS_PER_FOLDER + 1}"
        folder.mkdir(exist_ok=True)
        name = f"{corpus.prefix}{number:0{corpus.digits}d}"
        names.setdefault(folder, []).append(name)
        person = order.cast.person(index, conditions)
        rng = order.cast.generator("recording", index)
        recording = simulate_recording(
            person, hearts[index], rng, sampling_rate=SAMPLING_RATE, num_samples=lengths[index], noise=corpus.noise
        )
        codes = quantise(recording.leads, GAIN)
        header = header_lines(corpus, name, person, [code_of[condition] for condition in conditions], codes)
        quirk = QUIRKS[index % len(QUIRKS)] if order.quirks else ""
        if quirk:
            codes, header = with_quirk(quirk, codes, header, earlier)
        write_mat(folder / f"{name}.mat", codes)
        (folder / f"{name}.hea").write_text("\n".join(header) + "\n", encoding="ascii")
        earlier = codes
        order.tick()
    for folder, members in names.items():
        (folder / "RECORDS").write_text("".join(f"{name}\n" for name in members), encoding="ascii")


def deal_conditions(order: Order, corpus: CincCorpus) -> list[tuple[str, ...]]:
    """The conditions of each record; one that got none is normal."""
    labels = quotas(dict(corpus.labels.values()), corpus.published, order.num_records)
    others = {name: round(count / corpus.published * order.num_records) for name, count in corpus.others.values()}
    dealt = deal(
        labels | others,
        order.num_records,
        order.cast.generator("labels"),
        exclusive=corpus.exclusive,
        single=corpus.single,
    )
    return [conditions or ("NORM",) for conditions in dealt]


def header_lines(
    corpus: CincCorpus, name: str, person: Person, diagnoses: list[str], codes: NDArray[np.int16]
) -> list[str]:
    """The lines of a header."""
    signals = [
        signal_line(f"{name}.mat", lead_codes, lead, file_format="16+24", gain=f"{GAIN}/mV")
        for lead, lead_codes in zip(LEAD_NAMES, codes, strict=True)
    ]
    return [
        f"{name} {len(codes)} {SAMPLING_RATE} {codes.shape[1]} {corpus.date}",
        *signals,
        f"#Age: {person.age}",
        f"#Sex: {person.sex.capitalize()}",
        f"#Dx: {','.join(diagnoses)}",
        *corpus.comments,
    ]


QUIRKS = (
    "",
    "mat in first line",
    "",
    "gain 4880",
    "",
    "missing",
    "duplicate",
    "",
    "empty Dx",
    "",
    "lower case",
    "no age",
)
"""With `quirks=True` the records take these in turn, so the first dozen shows each one."""


def with_quirk(
    quirk: str, codes: NDArray[np.int16], header: list[str], earlier: NDArray[np.int16] | None
) -> tuple[NDArray[np.int16], list[str]]:
    """One record with one oddity of the authentic files.

    `gain 4880`: the header claims a gain that the samples do not have. `missing`: 30 samples of -32768. `duplicate`:
    the samples, not the labels, of the record before (if it is as long). The other ones touch the header alone.
    """
    text = "\n".join(header)
    if quirk == "mat in first line":
        text = text.replace(" ", ".mat ", 1)
    elif quirk == "gain 4880":
        text = text.replace("1000/mV", "4880/mV")
    elif quirk == "missing":
        codes = codes.copy()
        codes[:, 1000:1030] = MISSING
    elif quirk == "duplicate" and earlier is not None and earlier.shape == codes.shape:
        codes = earlier
    elif quirk == "empty Dx":
        text = "\n".join("#Dx:" if line.startswith("#Dx") else line for line in header)
    elif quirk == "lower case":
        text = text.replace("Female", "female").replace("Male", "male").replace("1000/mV", "1000/mv")
    elif quirk == "no age":
        text = "\n".join("#Age: NaN" if line.startswith("#Age") else line for line in header)
    return codes, text.split("\n")
