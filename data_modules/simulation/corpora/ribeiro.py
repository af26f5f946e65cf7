"""CODE-test as published: one HDF5 with all tracings, the gold standard and the attributes as CSV."""

from __future__ import annotations

import numpy as np

from data_modules.corpus import LEAD_NAMES
from data_modules.simulation.corpora.cast import Order
from data_modules.simulation.corpora.table import write_csv
from data_modules.simulation.noise import NoiseLevel
from data_modules.simulation.prevalence import add_incidental, deal, quotas
from data_modules.simulation.recording import simulate_recording

PUBLISHED = 827
SAMPLING_RATE = 400
NUM_SAMPLES = 4096
SHARE_OF_7_SECONDS = 0.35
"""An estimate: that some last 7 s and some 10 s is documented, how many is not."""
SHARE_INCIDENTAL = 0.35
"""Records with a finding that is none of the six: here a row of zeros does not mean a normal ECG."""
COLUMNS = {
    "1dAVb": ("IAVB", 28),
    "RBBB": ("RBBB", 34),
    "LBBB": ("LBBB", 30),
    "SB": ("SB", 16),
    "AF": ("AF", 13),
    "ST": ("STACH", 37),
}
"""Column of the gold standard -> our condition, published positives."""
EXCLUSIVE = (frozenset({"AF", "IAVB"}), frozenset({"AF", "SB", "STACH"}), frozenset({"RBBB", "LBBB"}))
NOISE = NoiseLevel(baseline=0.05, muscle=0.008, mains=0.005, mains_frequency=60.0, amplifier=0.003, spread=0.6)


def write_ribeiro(order: Order) -> None:
    """Fill a folder in CODE-test's layout.

    The tracings are in millivolts, leads DI, DII, DIII, AVR, AVL, AVF, V1 to V6: the published notes contradict each
    other on both (unit "1e-4 V", but a factor of 1000 to volts).
    """
    import h5py  # slow to import, needed by this corpus alone

    dealt = deal_conditions(order)
    hearts = add_incidental(dealt, SHARE_INCIDENTAL, order.cast.generator("incidental"))
    people = [order.cast.person(index, conditions or ("NORM",)) for index, conditions in enumerate(dealt)]
    with h5py.File(order.root / "ecg_tracings.hdf5", "w") as file:
        tracings = file.create_dataset(
            "tracings", (order.num_records, NUM_SAMPLES, len(LEAD_NAMES)), "float32", track_times=False
        )
        for index, (person, conditions) in enumerate(zip(people, hearts, strict=True)):
            rng = order.cast.generator("recording", index)
            num_samples = SAMPLING_RATE * (7 if rng.random() < SHARE_OF_7_SECONDS else 10)
            recording = simulate_recording(
                person, conditions, rng, sampling_rate=SAMPLING_RATE, num_samples=num_samples, noise=NOISE
            )
            padded = np.zeros((NUM_SAMPLES, len(LEAD_NAMES)), np.float32)
            margin = (NUM_SAMPLES - num_samples) // 2
            padded[margin : margin + num_samples] = recording.leads.T
            tracings[index] = padded
            order.tick()
    (order.root / "annotations").mkdir()
    rows = [[int(condition in conditions) for condition, _ in COLUMNS.values()] for conditions in dealt]
    write_csv(order.root / "annotations" / "gold_standard.csv", list(COLUMNS), rows)
    attributes: list[list[int | str]] = [[person.age, person.sex[0].upper()] for person in people]
    write_csv(order.root / "attributes.csv", ["age", "sex"], attributes)


def deal_conditions(order: Order) -> list[tuple[str, ...]]:
    """The conditions of each record, none for a normal one: about a tenth of the positives have two, as published."""
    quota = quotas(dict(COLUMNS.values()), PUBLISHED, order.num_records)
    return deal(quota, order.num_records, order.cast.generator("labels"), exclusive=EXCLUSIVE, alone=(), single=0.92)
