"""What the records of a folder say of themselves and what their samples suggest; nothing that matters is guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, CorpusFormatError, Record, RecordError
from data_modules.formats.raw_record import COUNTS, MILLIVOLTS, Format, RawRecord
from data_modules.heart_rate import heart_rate
from data_modules.own.alarm import Alarm
from data_modules.own.listing import Place, read_place
from data_modules.quality import MAX_IDENTITY_RESIDUAL, identity_residual, typical_amplitude
from data_modules.reading import ReadingOptions, lead_names, to_record

NUM_PROBED = 100
"""Records, evenly spread, that are read to see what they are."""

LEAD_II_MILLIVOLTS = (0.3, 5.0)
"""Where the median peak-to-peak voltage of lead II of a group of people lies for sure."""

HEART_RATES = (45, 120)
"""Beats a minute, between which the median of a group of adults lies for sure. Twice or half the true sampling rate
brings those of the public corpora (67 to 83) out of it."""


@dataclass(kw_only=True)
class SignalFindings:
    """What was seen in the probed records."""

    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """Each names the option that settles it."""
    sampling_rates: tuple[int, ...] = ()
    """Hz, the most frequent first."""


def survey_signals(places: Mapping[str, Place], chosen: Format, options: ReadingOptions) -> SignalFindings:
    """Read some records and say what they are.

    Args:
        places: All records.
        chosen: Their format.
        options: What the user says of them.

    Raises:
        CorpusFormatError: Not one of them can be read, or holds a sample.
    """
    ids = list(places)
    rows = np.unique(np.linspace(0, len(ids) - 1, min(NUM_PROBED, len(ids))).round().astype(int))
    raws: dict[str, RawRecord] = {}
    broken: dict[str, RecordError] = {}
    for record_id in (ids[row] for row in rows):
        try:
            raws[record_id] = read_place(places[record_id], chosen, options.dataset)
        except RecordError as error:
            broken[record_id] = error
    if not raws:
        first, problem = next(iter(broken.items()))
        raise CorpusFormatError(f"none of {len(broken)} records can be read; the first one, {first}: {problem}")
    findings = SignalFindings()
    raws = _with_samples(raws, findings)
    _say_what_files_say(raws, options, findings)
    records = _records(raws, options, findings)
    _say_unit(raws, records, options, findings)
    _say_heart_rate(records, findings)
    _say_identities(raws, records, options, findings)
    return findings


def _with_samples(raws: Mapping[str, RawRecord], findings: SignalFindings) -> dict[str, RawRecord]:
    """Those that hold something: a blank row of a stack is set aside later, and says nothing of the others."""
    found = {record_id: raw for record_id, raw in raws.items() if raw.signal.shape[1]}
    if not found:
        raise CorpusFormatError(f"none of {len(raws)} records looked at holds a sample")
    if num_blank := len(raws) - len(found):
        findings.lines.append(Alarm(f"{num_blank} of {len(raws)} records looked at hold no sample"))
    return found


def _say_what_files_say(raws: Mapping[str, RawRecord], options: ReadingOptions, findings: SignalFindings) -> None:
    rates = Counter(
        raw.sampling_rate if raw.sampling_rate is not None else options.sampling_rate for raw in raws.values()
    )
    stated = "as the files say" if all(raw.sampling_rate for raw in raws.values()) else "as you say"
    if None not in rates:
        findings.lines.append(f"sampling rate: {_counted({f'{rate:g} Hz': n for rate, n in rates.items()})}, {stated}")
        findings.sampling_rates = tuple(round(rate) for rate, _ in rates.most_common() if rate)
        lengths = [raw.signal.shape[1] / (raw.sampling_rate or options.sampling_rate or 1) for raw in raws.values()]
        findings.lines.append(f"length: {min(lengths):g} to {max(lengths):g} s, median {np.median(lengths):g} s")
    names = Counter(" ".join(raw.lead_names) if raw.lead_names else "unnamed" for raw in raws.values())
    findings.lines.append(f"signals in the files: {_counted(names)}")


def _records(raws: Mapping[str, RawRecord], options: ReadingOptions, findings: SignalFindings) -> dict[str, Record]:
    """The probed records, once nothing is left to ask; a reason that concerns all of them becomes a question."""
    if options.sampling_rate is None and any(raw.sampling_rate is None for raw in raws.values()):
        findings.questions.append("nothing says how fast it was sampled; say it with --rate, in Hz")
    if options.unit is None and options.gain is None and any(raw.unit is None for raw in raws.values()):
        height, lead = _height(raws, options)
        findings.questions.append(f"nothing says in which unit the numbers are. {_suggestion(height, lead)}")
    if options.leads is None and all(raw.lead_names is None for raw in raws.values()):
        num_signals = len(next(iter(raws.values())).signal)
        findings.questions.append(f"nothing says which of the {num_signals} signals is which lead; say it with --leads")
    if findings.questions:
        return {}
    records: dict[str, Record] = {}
    problems: list[RecordError] = []
    for record_id, raw in raws.items():
        try:
            records[record_id] = to_record(raw, options, record_id)
        except RecordError as problem:
            problems.append(problem)
    counts = Counter(problem.reason for problem in problems)
    details = {problem.reason: problem.detail for problem in problems}
    said = [f"{counts[reason]} of {len(raws)} records looked at: {detail}" for reason, detail in details.items()]
    (findings.lines if records else findings.questions).extend(said)
    return records


def _say_unit(
    raws: Mapping[str, RawRecord], records: Mapping[str, Record], options: ReadingOptions, findings: SignalFindings
) -> None:
    if not records:
        return
    without = {record_id: raw for record_id, raw in raws.items() if raw.unit in (None, COUNTS)}
    source = "as you say" if without else "as the files say"
    unit = f"{options.gain:g} A/D units per mV" if options.gain else options.unit or "/".join(
        sorted({raw.unit for raw in raws.values() if raw.unit})
    )  # fmt: skip
    heights = [typical_amplitude(_height_lead(record), record.sampling_rate) for record in records.values()]
    height = _finite_median(heights)
    low, high = LEAD_II_MILLIVOLTS
    if np.isnan(height):
        findings.lines.append(Alarm(f"unit: {unit}, {source}; lead II holds no number that could confirm it"))
    elif low <= height <= high:
        findings.lines.append(f"unit: {unit}, {source}; lead II is {height:.2f} mV high (median), as an ECG is")
    elif without:
        raw_height, lead = _height(without, options)
        findings.questions.append(
            f"in {unit} lead II would be {height:,.3g} mV high (median), expected {low} to {high} mV. "
            f"{_suggestion(raw_height, lead)}"
        )
    else:
        found = f"unit: {unit}, {source}; but lead II is {height:,.3g} mV high, expected {low} to {high}"
        findings.lines.append(Alarm(found))


def _height_lead(record: Record) -> NDArray[np.float32]:
    """Lead II, (1, samples); the leads that a record has where that is none of them."""
    if "II" not in record.absent_leads:
        return record.signal[1:2]
    return record.signal[[name not in record.absent_leads for name in LEAD_NAMES]]


def _say_heart_rate(records: Mapping[str, Record], findings: SignalFindings) -> None:
    """Say whether hearts beat as often as people's do: not a question, since children's and animals' do not."""
    rates = np.array([heart_rate(record.signal, record.sampling_rate) for record in records.values()])
    if not np.isfinite(rates).any():
        return
    typical, (low, high) = float(np.nanmedian(rates)), HEART_RATES
    if low <= typical <= high:
        findings.lines.append(f"heart rate: {typical:.0f} a minute (median), as adults' is")
    else:
        asked = f"adults' is {low} to {high}: IS THE SAMPLING RATE RIGHT?"
        findings.lines.append(Alarm(f"heart rate: {typical:.0f} a minute (median), {asked}"))


def _height(raws: Mapping[str, RawRecord], options: ReadingOptions) -> tuple[float, str]:
    """Median peak-to-peak value in the numbers of the files, and of which lead."""
    heights, lead = [], "lead II"
    for raw in raws.values():
        try:
            row = lead_names(raw, options).index("II")
            signal = raw.signal[row : row + 1]
        except (RecordError, ValueError):
            signal, lead = raw.signal, "a lead"
        heights.append(typical_amplitude(signal, round(raw.sampling_rate or options.sampling_rate or 500)))
    return _finite_median(heights), lead


def _finite_median(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.median(finite)) if finite else float("nan")


def _suggestion(height: float, lead: str) -> str:
    """What unit would make an ECG of a height in the file's numbers."""
    if np.isnan(height):
        return f"There is no number in {lead} that would tell; say --unit, or --gain (A/D units per mV) for raw counts"
    low, high = LEAD_II_MILLIVOLTS
    fitting = [unit for unit, millivolts in MILLIVOLTS.items() if low <= height * millivolts <= high]
    said = f"Median peak-to-peak in {lead} is {height:,.4g}"
    if not fitting:
        return f"{said}: no ECG in mV, uV or V; raw counts are read with --gain (A/D units per mV)"
    unit = fitting[0]
    would = f"that would be {height * MILLIVOLTS[unit]:.1f} mV if the numbers are {unit}; say --unit {unit}"
    return f"{said}: {would}, or --gain (A/D units per mV) if they are raw counts"


def _say_identities(
    raws: Mapping[str, RawRecord], records: Mapping[str, Record], options: ReadingOptions, findings: SignalFindings
) -> None:
    """Say which leads there are, which were derived, and whether the limb leads fit together."""
    kinds: Counter[str] = Counter()
    residuals = []
    for record_id, record in records.items():
        named = [name for name in lead_names(raws[record_id], options) if name]
        derived = [name for name in LEAD_NAMES if name not in named and name not in record.absent_leads]
        said = "all twelve" if not derived and not record.absent_leads else f"{' '.join(named)}"
        said += f", {' '.join(derived)} derived" if derived else ""
        kinds[said + (f", {' '.join(record.absent_leads)} zero" if record.absent_leads else "")] += 1
        if set(LEAD_NAMES[:6]) <= set(named) and np.isfinite(record.signal).all():
            residuals.append(identity_residual(record.signal))
    if kinds:
        findings.lines.append(f"leads: {_counted(kinds)}")
    if not residuals:
        return
    typical = float(np.median(residuals))
    if typical <= MAX_IDENTITY_RESIDUAL:
        findings.lines.append(f"limb leads satisfy Einthoven's and Goldberger's identities (residual {typical:.3f})")
    else:
        found = f"residual {typical:.2f}, at most {MAX_IDENTITY_RESIDUAL}"
        asked = "are the leads in another order? --leads says which is which"
        findings.lines.append(
            Alarm(f"limb leads do NOT satisfy Einthoven's and Goldberger's identities ({found}): {asked}")
        )


def _counted(counts: Mapping[str, int]) -> str:
    """The most frequent first, with their counts where there are several."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) == 1:
        return ordered[0][0]
    return "; ".join(f"{name} ({count})" for name, count in ordered[:4]) + ("; ..." if len(ordered) > 4 else "")
