"""Whatever is read and judged on codes must be, bit for bit, what the general way makes of the same files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.coded_record import CodedRecord, read_coded
from data_modules.coded_screening import MISSING, measure, notes_on
from data_modules.config import Preprocessing
from data_modules.corpus import Record, RecordError
from data_modules.ingest import screen_for
from data_modules.published_record import read_published
from data_modules.quality import identity_residual, screen
from data_modules.signal import prepare
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts, write_challenge_record

Codes = NDArray[np.int16]
SECONDS = 2.0


def wanted(rate: int, method: Literal["stride", "polyphase"], crop: Literal["first", "center"]) -> Preprocessing:
    return Preprocessing(sampling_rate=rate, num_samples=round(SECONDS * rate), resample=method, crop=crop)


def on_codes(header: Path, how: Preprocessing, rate: int = 500) -> tuple[NDArray[np.float32], tuple[str, ...]] | None:
    coded = read_coded(str(header), gain=1000.0, sampling_rate=rate)
    if coded is None or (notes := notes_on([measure(coded)], how.num_samples / how.sampling_rate)[0]) is None:
        return None
    return prepare(coded.codes, rate, how, coded.gain), notes


def in_millivolts(header: Path, how: Preprocessing, rate: int = 500) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    record = screen_for(read_published(header, "r", gain=1000.0, sampling_rate=rate), how)
    return prepare(record.signal, rate, how), record.notes


def assert_same(header: Path, how: Preprocessing, rate: int = 500) -> tuple[str, ...]:
    found, expected = on_codes(header, how, rate), in_millivolts(header, how, rate)
    assert found is not None
    assert found[1] == expected[1]
    assert found[0].tobytes() == expected[0].tobytes()
    return found[1]


@pytest.mark.parametrize("crop", ["first", "center"])
@pytest.mark.parametrize("method", ["stride", "polyphase"])
@pytest.mark.parametrize(
    ("rate", "target", "num_samples"),
    [(500, 100, 1300), (500, 100, 1033), (500, 500, 1001), (1000, 100, 2017), (257, 257, 600), (500, 250, 2999)],
)
def test_the_same_signal_bit_for_bit(
    tmp_path: Path,
    rate: int,
    target: int,
    num_samples: int,
    method: Literal["stride", "polyphase"],
    crop: Literal["first", "center"],
) -> None:
    codes = as_codes(synthetic_millivolts(num_samples, rate, seed=num_samples))
    header = write_challenge_record(tmp_path, "r", codes, sampling_rate=rate)
    assert assert_same(header, wanted(target, method, crop), rate) == ()


def turned(codes: Codes) -> Codes:
    """Arms exchanged without the augmented leads: no lead II = I + III any more."""
    return codes[[0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]


def with_offset(codes: Codes) -> Codes:
    """Offsets of the electrodes of up to 6 mV, more than the signal itself."""
    return codes + np.arange(-6000, 6000, 1000, dtype=np.int16)[:, None]


def staying(length: int) -> Callable[[Codes], Codes]:
    """Lead V1 at a value above all others for some samples on end."""

    def stay(codes: Codes) -> Codes:
        changed = codes.copy()
        changed[6, 333 : 333 + length] = 4000
        return changed

    return stay


def still_for_a_second(codes: Codes) -> Codes:
    """Lead V2 hardly moves for the second of three seconds; a flat one does not in half of them or more."""
    changed = codes.copy()
    changed[7, 500:1000] = 12
    changed[7, 833] = 14
    return changed


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (with_offset, ()),
        (still_for_a_second, ()),
        (turned, ("lead_identity",)),
        (staying(49), ()),
    ],
)
def test_the_same_verdict_on_what_is_kept_as_it_is(
    tmp_path: Path, change: Callable[[Codes], Codes], notes: tuple[str, ...]
) -> None:
    codes = change(as_codes(synthetic_millivolts(1700, 500)))
    header = write_challenge_record(tmp_path, "r", codes)
    assert assert_same(header, wanted(100, "stride", "first")) == notes


@pytest.mark.parametrize("line", ["r.mat 16+24 1000/mV 16 0 {} 5 0 I", "r.mat 16+24 1000/mV 16 0 5 {} 0 I"])
def test_a_wrong_checksum_or_initial_value_is_noted(tmp_path: Path, line: str) -> None:
    codes = as_codes(synthetic_millivolts(1300, 500))
    header = write_challenge_record(tmp_path, "r", codes)
    lines = header.read_text().splitlines()
    _, _, _, _, _, initial, checksum, _, _ = lines[1].split()
    lines[1] = line.format(initial if line.endswith("5 0 I") else checksum)
    header.write_text("\n".join(lines) + "\n")
    assert assert_same(header, wanted(100, "stride", "first")) == ("checksum_mismatch",)


def flat(codes: Codes) -> Codes:
    codes[7] = 3
    return codes


def missing(codes: Codes) -> Codes:
    codes[4, 77] = -32768
    return codes


def tiny(codes: Codes) -> Codes:
    codes[:] = codes // 100
    return codes


@pytest.mark.parametrize("change", [flat, missing, tiny, staying(100), staying(101)])
def test_what_is_not_as_usual_is_left_to_the_general_way(tmp_path: Path, change: Callable[[Codes], Codes]) -> None:
    header = write_challenge_record(tmp_path, "r", change(as_codes(synthetic_millivolts(1300, 500))))
    assert on_codes(header, wanted(100, "stride", "first")) is None


@pytest.mark.parametrize("start", range(300, 420, 7))
def test_no_saturated_lead_is_missed_wherever_it_begins(tmp_path: Path, start: int) -> None:
    codes = as_codes(synthetic_millivolts(1300, 500))
    codes[6, start : start + 100] = -5000
    header = write_challenge_record(tmp_path, "r", codes)
    assert on_codes(header, wanted(100, "stride", "first")) is None
    assert in_millivolts(header, wanted(100, "stride", "first"))[1] == ("saturated",)


def test_records_that_are_judged_together_do_not_touch_each_other(tmp_path: Path) -> None:
    """Every verdict among many is the one alone: also where one ends at an extreme with which the next one begins."""
    clean = as_codes(synthetic_millivolts(1777, 500))
    ends_high, begins_high = clean.copy(), clean.copy()
    ends_high[6, -60:], begins_high[6, :40] = 4000, 4000
    changes = [
        clean,
        ends_high,
        begins_high,
        flat(clean.copy()),
        turned(clean),
        missing(clean.copy()),
        tiny(clean.copy()),
    ]
    changes += [staying(100)(clean), clean[:, :600], still_for_a_second(clean), with_offset(clean), clean[:, :1000]]
    measured = []
    for number, codes in enumerate(changes):
        header = write_challenge_record(tmp_path, f"r{number}", codes)
        coded = read_coded(str(header), gain=1000.0, sampling_rate=500)
        assert coded is not None
        measured.append(measure(coded))
    alone = [notes_on([each], SECONDS)[0] for each in measured]
    assert alone == [(), (), (), None, ("lead_identity",), None, None, None, None, (), (), ()]
    assert notes_on(measured, SECONDS) == alone
    assert notes_on(measured[::-1], SECONDS) == alone[::-1]
    assert notes_on([], SECONDS) == []


def changed_at_random(clean: Codes, rng: np.random.Generator) -> Codes:
    """Up to three of what happens to ECGs: cut, shifted, scaled, noisy, clipped, flat or lost for a while."""
    codes = clean.astype(np.int64)
    for kind in rng.choice(10, rng.integers(0, 4), replace=False):
        lead, length = rng.integers(0, 12), codes.shape[1]
        first = int(rng.integers(0, length))
        last = first + int(rng.integers(1, 1500))
        if kind == 0:
            codes = codes[:, first:]
        elif kind == 1:
            codes[:6] += rng.integers(-8000, 8000, (6, 1))
        elif kind == 2:
            codes = codes * rng.integers(1, 60) // rng.integers(1, 60)
        elif kind == 3:
            codes[lead] += np.round(rng.normal(0, rng.uniform(0, 400), length)).astype(np.int64)
        elif kind == 4:
            codes = np.clip(codes, -rng.integers(1, 800), rng.integers(1, 800))
        elif kind == 5:
            codes[lead, first:last] = rng.integers(-3, 3)
        elif kind == 6:
            codes[lead, first : first + 150] = rng.choice([codes[lead].max(), codes[lead].min(), 32767])
        elif kind == 7:
            codes[lead, first] = -32768
        elif kind == 8:
            codes[[0, 1]] = codes[[1, 0]]
        else:
            codes[lead] = codes[lead] * rng.uniform(0.5, 1.5)
    return np.ascontiguousarray(np.clip(codes, -32768, 32767).astype(np.int16))


@pytest.mark.parametrize("rate", [100, 257, 500])
def test_no_verdict_on_codes_differs_from_that_in_millivolts(rate: int) -> None:
    rng, clean, num_judged = np.random.default_rng(rate), as_codes(synthetic_millivolts(10 * rate, rate)), 0
    for _ in range(60):
        many = [changed_at_random(clean, rng) for _ in range(5)]
        verdicts = notes_on([measure(CodedRecord(codes, 1000.0, rate, ())) for codes in many], SECONDS)
        for codes, notes in zip(many, verdicts, strict=True):
            if notes is not None:
                signal = codes.astype(np.float32) / np.float32(1000)
                assert screen(Record(record_id="r", signal=signal, sampling_rate=rate), SECONDS).notes == notes
                assert MISSING not in codes
                num_judged += 1
    assert num_judged > 100


def test_identities_that_are_nearly_broken_are_judged_as_in_millivolts(tmp_path: Path) -> None:
    clean, verdicts = as_codes(synthetic_millivolts(1300, 500)), set()
    for part in np.linspace(0.0, 0.6, 25):
        codes = clean.copy()
        codes[1] = np.round(clean[1] * (1 - part)).astype(np.int16)
        header = write_challenge_record(tmp_path, "r", codes)
        expected = in_millivolts(header, wanted(100, "stride", "first"))[1]
        found = on_codes(header, wanted(100, "stride", "first"))
        residual = identity_residual((codes / 1000).astype(np.float32))
        if found is None:
            assert 0.13 < residual < 0.3
        else:
            assert found[1] == expected
        verdicts.add(None if found is None else found[1])
    assert verdicts == {(), None, ("lead_identity",)}


def _lines(header: Path, change: Callable[[list[str]], list[str]]) -> None:
    header.write_text("\n".join(change(header.read_text().splitlines())) + "\n")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], id="leads in another order"),
        pytest.param(lambda lines: [line.replace("1000/mV", "4880/mV") for line in lines], id="another gain"),
        pytest.param(lambda lines: [line.replace("1000/mV", "1000(5)/mV") for line in lines], id="a baseline"),
        pytest.param(lambda lines: [line.replace("16+24", "16+22") for line in lines], id="another offset"),
        pytest.param(lambda lines: [line.replace("16+24", f"16+{10**17}") for line in lines], id="a far offset"),
        pytest.param(lambda lines: [line.replace(" 1300 ", " 1301 ") for line in lines], id="too short"),
        pytest.param(lambda lines: [line.replace(" 1300 ", " 1299 ") for line in lines], id="too long"),
        pytest.param(lambda lines: [line.replace(" 500 ", " 250 ") for line in lines], id="another rate"),
        pytest.param(lambda lines: [line.replace("r.mat", "s.mat") for line in lines], id="no samples"),
        pytest.param(lambda lines: lines[:5], id="lines missing"),
    ],
)
def test_a_file_that_is_not_as_published_is_left_to_the_general_way(
    tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    header = write_challenge_record(tmp_path, "r", as_codes(synthetic_millivolts(1300, 500)))
    assert read_coded(str(header), gain=1000.0, sampling_rate=500) is not None
    _lines(header, change)
    assert read_coded(str(header), gain=1000.0, sampling_rate=500) is None


def test_neither_links_out_of_the_folder_nor_pipes_are_read(tmp_path: Path) -> None:
    header = write_challenge_record(tmp_path / "in", "r", as_codes(synthetic_millivolts(1300, 500)))
    samples = header.with_suffix(".mat")
    samples.rename(tmp_path / "in" / "other.mat")
    samples.symlink_to("other.mat")
    assert assert_same(header, wanted(100, "stride", "first")) == ()
    (tmp_path / "in" / "other.mat").rename(tmp_path / "secret")
    samples.unlink()
    samples.symlink_to(tmp_path / "secret")
    assert read_coded(str(header), gain=1000.0, sampling_rate=500) is None
    with pytest.raises(RecordError, match="link out of its folder"):
        read_published(header, "r", gain=1000.0, sampling_rate=500)
    samples.unlink()
    os.mkfifo(samples)
    assert read_coded(str(header), gain=1000.0, sampling_rate=500) is None


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "pattern", "gain", "rate"),
    [
        ("ptbxl", "records500/*/*.hea", 1000.0, 500),
        ("cpsc2018", "g1/*.hea", 1000.0, 500),
        ("georgia", "g1/*.hea", 1000.0, 500),
    ],
)
def test_real_records(folder: str, pattern: str, gain: float, rate: int) -> None:
    paths, num_coded = sorted(real_folder(folder).glob(pattern))[::3], 0
    for path in paths:
        coded = read_coded(str(path), gain=gain, sampling_rate=rate)
        if coded is None or (notes := notes_on([measure(coded)], 10.0)[0]) is None:
            continue
        record = screen_for(read_published(path, path.stem, gain=gain, sampling_rate=rate), Preprocessing())
        assert notes == record.notes, path
        expected = prepare(record.signal, rate, Preprocessing())
        assert prepare(coded.codes, rate, Preprocessing(), gain).tobytes() == expected.tobytes(), path
        num_coded += 1
    assert num_coded >= 0.9 * len(paths)
