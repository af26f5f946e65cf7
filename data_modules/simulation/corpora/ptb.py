"""PTB Diagnostic ECG Database as published: a folder a patient, 15 signals, diagnoses as comments of the header."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES
from data_modules.simulation.corpora.cast import Order
from data_modules.simulation.noise import NoiseLevel
from data_modules.simulation.person import Person
from data_modules.simulation.prevalence import group_patients, quotas
from data_modules.simulation.recording import simulate_recording
from data_modules.simulation.wfdb_files import quantise, signal_line, write_dat

PUBLISHED = 549
SAMPLING_RATE = 1000
GAIN = 2000
NOISE = NoiseLevel(baseline=0.06, muscle=0.006, mains=0.004, mains_frequency=50.0, amplifier=0.002)
SIGNAL_NAMES = tuple(name.lower() for name in LEAD_NAMES)

MI, HEALTHY = "Myocardial infarction", "Healthy control"
REASONS = {
    MI: 368,
    HEALTHY: 80,
    "n/a": 27,
    "Cardiomyopathy": 20,
    "Bundle branch block": 17,
    "Dysrhythmia": 16,
    "Hypertrophy": 7,
    "Valvular heart disease": 6,
    "Unstable angina": 4,
    "Myocarditis": 4,
}
"""Reason for admission -> published records; those below the first two are approximate."""
RECORDS_PER_PATIENT = {MI: 368 / 148, HEALTHY: 80 / 52}
LOCALISATIONS = {
    "anterior": ("AMI",),
    "antero-septal": ("AMI",),
    "antero-lateral": ("AMI", "LMI"),
    "inferior": ("IMI",),
    "infero-lateral": ("IMI", "LMI"),
    "infero-posterior": ("IMI", "PMI"),
    "lateral": ("LMI",),
}
VARIANTS = {
    HEALTHY: (("NORM",),),
    "n/a": (("NORM",), ("TAB",), ("STD",), ("PVC",)),
    "Cardiomyopathy": (("LVH",), ("IVCD", "TINV"), ("LBBB",), ("LAE", "TAB")),
    "Bundle branch block": (("LBBB",), ("RBBB",)),
    "Dysrhythmia": (("AF",), ("PVC",), ("PAC",), ("AFLT",)),
    "Hypertrophy": (("LVH",),),
    "Valvular heart disease": (("LVH", "LAE"), ("AF", "LVH"), ("LAE",)),
    "Unstable angina": (("ISC",), ("STD",)),
    "Myocarditis": (("TAB",), ("STE",), ("TINV",)),
}
"""What a patient of each reason can have."""


class Admission(NamedTuple):
    """What a header says of a patient."""

    reason: str
    acute: str
    """Localisation of a fresh infarction, or `no`."""
    former: str
    """Localisation of an old one, or `no`."""


def write_ptb(order: Order) -> None:
    """Fill a folder in PTB's layout.

    Records last 12 to 16 s here instead of about two minutes, to keep the files small. As in the authentic database
    most names end in `lre`, some in `_re`. A patient with an infarction has it acute in the first record, three times
    out of four, and old in the later ones.
    """
    reasons = deal_reasons(order)
    patients = group_patients(reasons, RECORDS_PER_PATIENT, order.cast.generator("patients"))
    records_of: dict[int, list[int]] = {}
    for record, patient in enumerate(patients):
        records_of.setdefault(patient, []).append(record)
    listing: list[str] = []
    controls: list[str] = []
    number = 0
    for patient, records in sorted(records_of.items()):
        folder = order.root / f"patient{patient + 1:03d}"
        folder.mkdir()
        for visit, record in enumerate(records):
            number += 1
            name = f"s{9 + number:04d}{'_re' if number % 5 == 1 else 'lre'}"
            listing.append(f"{folder.name}/{name}")
            if reasons[record] == HEALTHY:
                controls.append(listing[-1])
            write_record(order, folder.name, name, patient=patient, visit=visit, reason=reasons[record])
            order.tick()
    (order.root / "RECORDS").write_text("".join(f"{line}\n" for line in listing), encoding="ascii")
    (order.root / "CONTROLS").write_text("".join(f"{line}\n" for line in controls), encoding="ascii")


def deal_reasons(order: Order) -> list[str]:
    """One reason a record; infarctions take what rounding leaves."""
    quota = quotas(REASONS, PUBLISHED, order.num_records)
    quota[MI] = max(1, order.num_records - sum(count for reason, count in quota.items() if reason != MI))
    reasons = [reason for reason, count in quota.items() for _ in range(count)][: order.num_records]
    return [reasons[index] for index in order.cast.generator("labels").permutation(len(reasons))]


def admission(reason: str, visit: int, rng: np.random.Generator) -> tuple[Admission, tuple[str, ...]]:
    """What the header says, and the conditions, for a patient's visit; the generator is the patient's."""
    if reason != MI:
        choices = VARIANTS[reason]
        return Admission(reason, "no", "no"), choices[int(rng.integers(len(choices)))]
    localisation = list(LOCALISATIONS)[int(rng.integers(len(LOCALISATIONS)))]
    is_acute = rng.random() < 0.75 and visit == 0
    walls = LOCALISATIONS[localisation]
    if not is_acute:
        return Admission(reason, "no", localisation), walls
    return Admission(reason, localisation, "no"), tuple(wall if wall == "PMI" else f"{wall}_ACUTE" for wall in walls)


def write_record(order: Order, folder: str, name: str, *, patient: int, visit: int, reason: str) -> None:
    """Write one record's header, twelve leads (`.dat`) and Frank leads (`.xyz`)."""
    stated, conditions = admission(reason, visit, order.cast.generator("admission", patient))
    person = order.cast.person(patient, ("NORM",) if reason == HEALTHY else ("AMI",))
    rng = order.cast.generator(f"recording {visit}", patient)
    num_samples = int(rng.integers(12, 17)) * SAMPLING_RATE
    recording = simulate_recording(
        person, conditions, rng, sampling_rate=SAMPLING_RATE, num_samples=num_samples, noise=NOISE
    )
    leads, frank = quantise(recording.leads, GAIN), quantise(recording.frank, GAIN)
    path = order.root / folder / name
    write_dat(path.with_suffix(".dat"), leads)
    write_dat(path.with_suffix(".xyz"), frank)
    lines = header_lines(name, person, stated, leads, frank)
    path.with_suffix(".hea").write_bytes("".join(f"{line}\r\n" for line in lines).encode("ascii"))


def header_lines(
    name: str, person: Person, stated: Admission, leads: NDArray[np.int16], frank: NDArray[np.int16]
) -> list[str]:
    """The lines of a header, in the authentic wording and with its empty lines."""
    signals = [
        signal_line(f"{name}.{suffix}", codes, signal, file_format="16", gain=f"{GAIN}")
        for suffix, names, group in (("dat", SIGNAL_NAMES, leads), ("xyz", ("vx", "vy", "vz"), frank))
        for signal, codes in zip(names, group, strict=True)
    ]
    return [
        f"{name} {len(signals)} {SAMPLING_RATE} {leads.shape[1]}",
        *signals,
        "",
        f"# age: {person.age}",
        f"# sex: {person.sex}",
        "# ECG date: 01/10/1990",
        "",
        "# Diagnose:",
        f"# Reason for admission: {stated.reason}",
        f"# Acute infarction (localization): {stated.acute}",
        f"# Former infarction (localization): {stated.former}",
        "# Additional diagnoses: no",
        "# Smoker: unknown",
        "# Number of coronary vessels involved: unknown",
        "# Infarction date (acute): n/a",
        "# Previous infarction (1) date: n/a",
        "# Previous infarction (2) date: n/a",
        "",
        "# Hemodynamics:",
        "# Catheterization date: n/a",
        "# Ventriculography: n/a",
        "# Echocardiography: n/a",
        "",
        "# Therapy:",
        "# Infarction date: n/a",
        "# Admission date: n/a",
        "# Medication pre admission: unknown",
    ]
