"""What makes a corpus's scores wrong without an error, found and named before training. Nothing is set aside here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES
from data_modules.datamodule import PARTS, ECGDataModule
from data_modules.findings import MEANINGS, Finding
from data_modules.lead_swaps import SWAPPED_MARGIN
from data_modules.near_copies import are_copies, candidates
from data_modules.record_checks import RecordChecks, record_checks

CORPUS_MILLIVOLTS = (0.25, 2.5)
"""Median amplitude of a corpus of ECGs. PTB-XL's 21,811 records have 0.99 mV, 309 of CPSC2018 0.97 mV, 15 of Georgia
0.79 mV: the wrong gain 4880 in place of 1000 falls outside, either way."""

OUTLIER_FACTOR = 5.0
"""A record whose amplitude is so many times larger or smaller than its corpus's median is named. None of PTB-XL's is;
with a gain wrong by 10 either way 98 % of them would be, by 4.88 46 %."""


def check_corpus(data: ECGDataModule, *upstreams: ECGDataModule) -> list[Finding]:
    """Look at a corpus as a run would have it.

    Args:
        data: Set up.
        upstreams: What an upstream, and those that it goes back to, are trained on, set up with the same rate and
            length.

    Returns:
        The gravest first.
    """
    checks = record_checks(data.cache, data.config.sampling_rate, progress=data.progress)
    found = [*leaks(data, *upstreams), *_of_records(data, checks), *_of_corpus(data, checks)]
    return sorted(found, key=lambda finding: list(MEANINGS).index(finding.code))


def leaks(data: ECGDataModule, *upstreams: ECGDataModule) -> list[Finding]:
    """Those of `LEAKS`: copies and patients on two sides of a split, or in the upstream's training and evaluated."""
    checks = record_checks(data.cache, data.config.sampling_rate, progress=data.progress)
    found = [*_copies_across_parts(data, checks), *_patients_across_parts(data)]
    for upstream in upstreams:
        found += [*_copies_in_upstream(data, checks, upstream), *_patients_in_upstream(data, upstream)]
    return found


def _part_of(data: ECGDataModule) -> NDArray[np.int64]:
    """Number of the part of each row; -1 for rows in none."""
    part = np.full(len(data.record_ids), -1)
    for number, name in enumerate(PARTS):
        part[data.rows[name]] = number
    return part


def _pairs(data: ECGDataModule, checks: RecordChecks) -> Iterator[tuple[int, int]]:
    """Copies among the records of a corpus; exact ones also where the others were not looked for."""
    if checks.compared:
        yield from checks.copies.tolist()
        return
    digests = np.where(data.cache.kept, data.cache.digests, 0)
    order = np.argsort(digests, kind="stable")
    same = (digests[order[1:]] == digests[order[:-1]]) & (digests[order[1:]] != 0)
    for index in np.flatnonzero(same):
        yield tuple(sorted((int(order[index]), int(order[index + 1]))))  # type: ignore[misc]


def _copies_across_parts(data: ECGDataModule, checks: RecordChecks) -> Iterator[Finding]:
    part = _part_of(data)
    for one, two in _pairs(data, checks):
        if part[one] != part[two] and min(part[one], part[two]) >= 0:
            names = f"{PARTS[part[one]]} and {PARTS[part[two]]}"
            yield Finding(
                code="copy_across_parts", records=(data.record_ids[one], data.record_ids[two]), detail=f"in {names}"
            )


def _patients_across_parts(data: ECGDataModule) -> Iterator[Finding]:
    patients = data.corpus.table.patient_ids
    if patients is None:
        return
    parts: dict[str, dict[str, list[str]]] = {}
    for name in PARTS:
        for row in data.rows[name]:
            parts.setdefault(patients[row], {}).setdefault(name, []).append(data.record_ids[row])
    for patient, by_part in parts.items():
        if len(by_part) > 1:
            records = tuple(record_id for ids in by_part.values() for record_id in ids)
            yield Finding(
                code="patient_across_parts", records=records, detail=f"patient {patient} in {' and '.join(by_part)}"
            )


def _copies_in_upstream(data: ECGDataModule, checks: RecordChecks, upstream: ECGDataModule) -> Iterator[Finding]:
    rate = data.config.sampling_rate
    theirs = record_checks(upstream.cache, rate, progress=data.progress)
    trained = upstream.rows["train"]
    for part in PARTS[1:]:
        rows = data.rows[part]
        for one, two in candidates(checks.sketches[rows], theirs.sketches[trained]):
            ours, other = rows[one], trained[two]
            if are_copies(data.cache.signals[ours], upstream.cache.signals[other], rate):
                records = (data.record_ids[ours], upstream.record_ids[other])
                detail = f"in {part}, and in the training of {upstream.corpus.spec.name}"
                yield Finding(code="copy_in_upstream", records=records, detail=detail)


def _patients_in_upstream(data: ECGDataModule, upstream: ECGDataModule) -> Iterator[Finding]:
    """Patients by their id, which means a person within one publication only."""
    ours, theirs = data.corpus, upstream.corpus
    if (ours.spec.name, ours.is_simulated) != (theirs.spec.name, theirs.is_simulated):
        return
    if ours.table.patient_ids is None or theirs.table.patient_ids is None:
        return
    trained = {theirs.table.patient_ids[row] for row in upstream.rows["train"]}
    for part in PARTS[1:]:
        records: dict[str, list[str]] = {}
        for row in data.rows[part]:
            if (patient := ours.table.patient_ids[row]) in trained:
                records.setdefault(patient, []).append(data.record_ids[row])
        for patient, ids in records.items():
            detail = f"patient {patient} in {part}, and in the training of {theirs.spec.name}"
            yield Finding(code="patient_in_upstream", records=tuple(ids), detail=detail)


def _of_records(data: ECGDataModule, checks: RecordChecks) -> Iterator[Finding]:
    cache, ids = data.cache, data.record_ids
    usual = float(np.median(checks.amplitudes[cache.kept]))
    for row in np.flatnonzero(cache.kept):
        amplitude, name = float(checks.amplitudes[row]), (ids[row],)
        if usual > 0 and not usual / OUTLIER_FACTOR <= amplitude <= usual * OUTLIER_FACTOR:
            detail = f"{amplitude:.3g} mV high, {amplitude / usual:.3g} times the corpus's median"
            yield Finding(code="gain", records=name, detail=detail)
        # the map from chest to limb leads is that of people: simulated hearts need not follow it
        if (margin := checks.margins[row]) > SWAPPED_MARGIN and not data.corpus.is_simulated:
            yield Finding(code="right_arm_swapped", records=name, detail=f"by {margin:.2f} of a correlation")
        if "lead_identity" in cache.notes.get(ids[row], ()):
            yield Finding(code="lead_identity", records=name, detail="the limb leads contradict each other")
        if checks.flat[row].any():
            flat = ", ".join(np.array(LEAD_NAMES)[checks.flat[row]])
            yield Finding(code="flat_lead", records=name, detail=flat)


def _of_corpus(data: ECGDataModule, checks: RecordChecks) -> Iterator[Finding]:
    kept = data.cache.kept
    usual = float(np.median(checks.amplitudes[kept]))
    low, high = CORPUS_MILLIVOLTS
    if not low <= usual <= high:
        detail = f"the median amplitude of {int(kept.sum())} records is {usual:.3g} mV, expected {low} to {high} mV"
        yield Finding(code="gain_of_corpus", records=(), detail=detail)
    if not checks.compared:
        yield Finding(code="not_compared", records=(), detail=f"{int(kept.sum())} records")
    for one, two in _pairs(data, checks):
        exact = data.cache.digests[one] == data.cache.digests[two]
        detail = "sample by sample" if exact else "but for rate, gain, noise or filter"
        yield Finding(code="copy", records=(data.record_ids[one], data.record_ids[two]), detail=detail)
