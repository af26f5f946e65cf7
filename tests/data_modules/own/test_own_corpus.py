"""From a folder to a corpus that has a name: what is said, asked, written, opened and refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from data_modules.cache import fingerprint, open_cache
from data_modules.config import DataConfig
from data_modules.corpus import LEAD_NAMES, SIMULATION_MARKER, CorpusFormatError, CorpusNotFoundError, RecordError
from data_modules.datamodule import ECGDataModule
from data_modules.download import verify
from data_modules.own.adding import UnclearCorpusError, add_corpus, describe
from data_modules.own.arrays import corpus_from_arrays
from data_modules.own.definition import definition_path, load_definition
from data_modules.own.label_survey import LabelOptions
from data_modules.own.own_corpus import OwnCorpus
from data_modules.quality import screen
from data_modules.reading import ReadingOptions
from data_modules.sources import is_corpus, open_corpus, own_corpora, spec_named, will_simulate
from tests.data_modules.ecg_files import LEADS, as_codes, real_folder, synthetic_millivolts, write_challenge_record
from tests.data_modules.own.own_folder import MICROVOLTS, NUM_RECORDS, add, write_folder


def test_a_folder_becomes_a_corpus(tmp_path: Path) -> None:
    _, said = add(write_folder(tmp_path))
    text = "\n".join(said)
    for part in ("24 records", "250 Hz", "uV, as you say", "all twelve", "identities", "AF 12, MI 8", "patients: 12"):
        assert part in text
    root = tmp_path / "data"
    assert own_corpora(root) == ["mine"]
    assert is_corpus("mine", root)
    assert not will_simulate("mine", root, "auto")
    corpus = open_corpus("mine", root=root)
    assert corpus.table.label_names == ("AF", "MI")
    assert corpus.table.labels.sum(axis=0).tolist() == [12, 8]
    signal = corpus.read("r07").signal
    np.testing.assert_allclose(signal, synthetic_millivolts(2500, 250, seed=7), atol=0.0006)
    assert spec_named("mine", root).title == "mine (own corpus)"
    with pytest.raises(ValueError, match=r"there is no corpus 'mime': .*did you mean 'mine'"):
        open_corpus("mime", root=root)
    with pytest.raises(ValueError, match="mine is your own corpus: nobody published a list of its files"):
        verify("mine", root=root)


@pytest.mark.parametrize(("rate", "said"), [(250, "as adults' is"), (100, "RATE RIGHT?"), (600, "RATE RIGHT?")])
def test_a_rate_that_makes_hearts_race_or_stand_is_said(tmp_path: Path, rate: int, said: str) -> None:
    _, lines = add(write_folder(tmp_path), ReadingOptions(unit="uV", sampling_rate=rate))
    (line,) = (line for line in lines if line.startswith("heart rate"))
    assert f"{60 * rate / 250:.0f} a minute" in line  # once a second at the true rate
    assert said in line


def test_parts_of_the_split_and_what_they_lack_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    _, said = add(folder)
    module = ECGDataModule(DataConfig(corpus="mine", root=str(tmp_path / "data")), batch_size=4, progress=False)
    module.setup()
    train, val, test = (len(rows) for rows in module.rows.values())
    assert f"split: {train} records train, {val} records validate, {test} records test" in said
    rows = [f"r{n:02d},{'tv'[n % 2]},{int(n < 2)},{n // 4 % 2}" for n in range(NUM_RECORDS)]
    folds = {"t": "train", "v": "val"}
    table = "".join(f"{name},{folds[part]},{af},{mi}\n" for name, part, af, mi in (row.split(",") for row in rows))
    (folder / "labels.csv").write_text("record,fold,AF,MI\n" + table)
    _, said = add(folder, replace_old=True)
    assert "  NO RECORD IS LEFT TO TEST: too few patients, or folds that leave it out" in said
    (folder / "labels.csv").write_text("record,fold,AF,MI\n" + table.replace("r23,val", "r23,test"))
    _, said = add(folder, replace_old=True)
    assert "  no record to test has AF" in said


def test_a_data_module_takes_it_and_keeps_patients_on_one_side(tmp_path: Path) -> None:
    add(write_folder(tmp_path))
    module = ECGDataModule(DataConfig(corpus="mine", root=str(tmp_path / "data")), batch_size=4, progress=False)
    module.setup()
    patients = np.array([int(name[1:]) // 2 for name in module.record_ids])
    parts = [set(patients[rows]) for rows in module.rows.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12
    assert next(iter(module.train_dataloader()))["signal"].shape == (4, 12, 1000)
    assert module.summary()["completeness"] == "mine (own corpus): complete, 24 records."


def test_units_are_asked_for_and_nothing_is_written(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(UnclearCorpusError) as error:
        add(tmp_path, ReadingOptions())
    for part in ("--rate", "--unit uV", "--gain", "mV if the numbers are uV"):
        assert part in str(error.value)
    assert not definition_path(tmp_path / "data", "mine").exists()
    with pytest.raises(UnclearCorpusError, match="in mV lead II would be"):
        add(tmp_path, replace(MICROVOLTS, unit="mV"))


def test_the_suggested_unit_is_that_of_lead_ii(tmp_path: Path) -> None:
    write_folder(tmp_path)
    seconds = [synthetic_millivolts(2500, 250, seed=n)[1].reshape(10, 250) * 1000 for n in range(NUM_RECORDS)]
    heights = [np.median(np.ptp(rows, axis=1)) for rows in seconds]
    with pytest.raises(UnclearCorpusError) as error:
        add(tmp_path, ReadingOptions(sampling_rate=250))
    number = float(str(error.value).split("lead II is ")[1].split(":")[0].replace(",", ""))
    assert number == pytest.approx(np.median(heights), rel=0.005)


@pytest.mark.parametrize("suffix", ["npy", "h5"])
@pytest.mark.parametrize(
    ("leads", "value", "reason", "found"),
    [
        (range(12), 0, "short", "holds no sample"),
        ([1], np.nan, "missing_samples", "lacks 10 s in a row of lead II, at most 0.04 s are filled"),
    ],
)
def test_a_bad_record_among_those_looked_at_is_set_aside(
    tmp_path: Path, suffix: str, leads: Sequence[int], value: float, reason: str, found: str
) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(20)]).astype(np.float32)
    signals[7, leads] = value
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, signals)
    else:
        with h5py.File(path, "w") as file:
            file["tracings"] = signals
    labels = tmp_path / "labels.csv"
    labels.write_text("AF\n" + "".join(f"{n % 2}\n" for n in range(20)))
    said: list[str] = []
    options = LabelOptions(in_order=True)
    reading = ReadingOptions(unit="mV", sampling_rate=100, leads=LEAD_NAMES)
    add_corpus("mine", path, root=tmp_path / "data", labels=labels, reading=reading, label_options=options,
               say=said.append, progress=False)  # fmt: skip
    assert f"set aside: {reason} 1" in said
    assert f"  07: {reason}: 07 {found}" in said
    sound = np.delete(signals, 7, axis=0)[:, 1].reshape(19, 10, 100)
    height = np.median([np.median(np.ptp(seconds, axis=1)) for seconds in sound])
    assert f"unit: mV, as you say; lead II is {height:.2f} mV high (median), as an ECG is" in said
    with pytest.raises(UnclearCorpusError, match=f"Median peak-to-peak in lead II is {height:.4g}: .*say --unit mV"):
        add_corpus("other", path, root=tmp_path / "data", labels=labels, reading=replace(reading, unit=None),
                   label_options=options, progress=False)  # fmt: skip


def test_a_lead_without_numbers_is_not_taken_for_another_unit(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for path in sorted((tmp_path / "ecgs").iterdir()):
        rows = np.genfromtxt(path, delimiter=",", skip_header=1)
        rows[:, 1] = np.nan
        np.savetxt(path, rows, delimiter=",", header=",".join(LEADS), comments="")
    with pytest.raises(
        CorpusFormatError, match=r"none of the 24 records .* missing_samples: r00 lacks 10 s .* lead II"
    ):
        add(tmp_path)
    with pytest.raises(UnclearCorpusError, match="There is no number in lead II that would tell; say --unit"):
        add(tmp_path, replace(MICROVOLTS, unit=None))


def test_missing_leads_are_derived_or_an_explicit_choice(tmp_path: Path) -> None:
    write_folder(tmp_path, ("I", "II", "V1", "V5"))
    with pytest.raises(UnclearCorpusError, match="--missing-leads zero"):
        add(tmp_path)
    corpus, said = add(tmp_path, replace(MICROVOLTS, missing_leads="zero"))
    assert "III aVR aVL aVF derived" in "\n".join(said)
    record = screen(corpus.read("r03"))
    one, two = np.round(synthetic_millivolts(2500, 250, seed=3)[:2], 3)
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    np.testing.assert_allclose(record.signal[:6], limbs, atol=1e-6)
    assert record.absent_leads == ("V2", "V3", "V4", "V6")
    assert not record.signal[[7, 8, 9, 11]].any()
    assert record.notes[0] == "absent_lead"


def test_names_that_are_taken_or_none_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for name in ("ptbxl", "cache", "../x", "Mine", ""):
        with pytest.raises(CorpusFormatError, match="name"):
            add_corpus(name, folder / "ecgs", root=tmp_path / "data", labels=folder / "labels.csv")
    add(folder)
    with pytest.raises(CorpusFormatError, match="--replace"):
        add(folder)
    add(folder, replace_old=True)


def test_other_files_of_equal_sizes_and_times_are_read_anew(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(2500, 250))
    for part, folder in enumerate(("one", "two")):
        for number in range(4):
            path = write_challenge_record(tmp_path / folder, f"r{number}", codes[:, :: 1 - 2 * part], sampling_rate=250)
            for file in (path, path.with_suffix(".mat")):
                file.write_bytes(file.read_bytes().ljust(200))
                os.utime(file, ns=(0, 0))
    signals = []
    for folder in ("one", "two"):
        corpus = add_corpus("mine", tmp_path / folder, root=tmp_path, replace_old=True, progress=False)
        signals.append(
            open_cache(corpus, DataConfig().preprocessing(corpus.spec), tmp_path / "cache").signals[0].copy()
        )
    assert len(list((tmp_path / "cache").glob("*.h5"))) == 1
    assert not np.array_equal(*signals)


def test_a_published_name_means_the_published_corpus(tmp_path: Path) -> None:
    add(write_folder(tmp_path))
    text = definition_path(tmp_path / "data", "mine").read_text().replace("name: mine", "name: ptb")
    definition_path(tmp_path / "data", "ptb").write_text(text)
    assert own_corpora(tmp_path / "data") == ["mine"]
    assert will_simulate("ptb", tmp_path / "data", "auto")


def test_an_own_corpus_is_never_simulated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    add(folder)
    with pytest.raises(ValueError, match="never simulated"):
        will_simulate("mine", tmp_path / "data", "simulated")
    (folder / "ecgs" / SIMULATION_MARKER).write_text("{}")
    assert will_simulate("mine", tmp_path / "data", "auto")
    assert open_corpus("mine", root=tmp_path / "data").is_simulated
    with pytest.raises(CorpusNotFoundError, match="simulated"):
        open_corpus("mine", root=tmp_path / "data", source="real")


def test_paths_below_the_data_root_move_with_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "one" / "in")
    root = tmp_path / "one"
    add_corpus("mine", root / "in" / "ecgs", root=root, labels=root / "in" / "labels.csv", reading=MICROVOLTS)
    (tmp_path / "one").rename(tmp_path / "two")
    assert len(open_corpus("mine", root=tmp_path / "two").table) == NUM_RECORDS


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"colour": "red"}, "no field colour"),
        ({"format": 3}, "format is 3"),
        ({"reading": {"unit": "kV"}}, "expected one of mV, uV, V"),
        ({"reading": {"leads": "I"}}, "should be a list"),
        ({"name": "other"}, "same name"),
        ({"path": "nowhere"}, "nowhere"),
    ],
)
def test_a_yaml_that_was_edited_wrongly_says_where(tmp_path: Path, change: dict[str, object], match: str) -> None:
    add(write_folder(tmp_path))
    path = definition_path(tmp_path / "data", "mine")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises((CorpusFormatError, CorpusNotFoundError), match=match):
        open_corpus("mine", root=tmp_path / "data")


def test_the_yaml_is_read_as_it_was_written(tmp_path: Path) -> None:
    reading = ReadingOptions(gain=1000.0, sampling_rate=250, leads=LEAD_NAMES, missing_leads="zero")
    corpus, _ = add(write_folder(tmp_path), reading)
    assert load_definition(definition_path(tmp_path / "data", "mine")) == corpus.definition


def test_what_the_user_says_of_the_files_decides_the_cache(tmp_path: Path) -> None:
    corpus, _ = add(write_folder(tmp_path))
    other = OwnCorpus(replace(corpus.definition, reading=replace(MICROVOLTS, unit="V")), tmp_path / "data")
    prepared = DataConfig().preprocessing(corpus.spec)
    assert fingerprint(corpus, prepared) != fingerprint(other, prepared)


def test_labels_come_from_headers_where_there_is_no_table(tmp_path: Path) -> None:
    for number in range(6):
        dx = "#Dx: 164889003" if number % 2 else "#Dx: 426783006,164909002"
        codes = as_codes(synthetic_millivolts(5000, 500, number))
        write_challenge_record(tmp_path / "ecgs", f"r{number}", codes, comments=(dx,))
    corpus = add_corpus("mine", tmp_path / "ecgs", root=tmp_path / "data", progress=False)
    assert corpus.table.label_names == ("164889003", "164909002", "426783006")
    assert corpus.table.labels.sum(axis=0).tolist() == [3, 3, 3]


def test_texts_that_were_renamed_after_adding_are_said(tmp_path: Path) -> None:
    folder, texts = write_folder(tmp_path), ("AF", "MI", "", "AF;PAC")
    cells = [texts[n % 4] for n in range(NUM_RECORDS)]
    table = "record,dx\n" + "".join(f"r{n:02d},{cell}\n" for n, cell in enumerate(cells))
    (folder / "labels.csv").write_text(table)
    corpus, _ = add(folder)
    assert corpus.table.notices == ()
    (folder / "labels.csv").write_text(table.replace("AF", "Afib"))
    notices = " ".join(open_corpus("mine", root=tmp_path / "data").table.notices)
    count = sum("AF" in cell for cell in cells)
    assert f"were not there when it was added, with their records: Afib ({count}); " in notices
    assert "no record has AF: " in notices
    (folder / "labels.csv").write_text(table)
    corpus, _ = add(folder, label_options=LabelOptions(names=("AF", "MI")), replace_old=True)
    assert corpus.table.notices == ()  # PAC was left out on purpose
    (folder / "labels.csv").write_text(table.replace("PAC", "PVC"))
    (notice,) = open_corpus("mine", root=tmp_path / "data").table.notices
    assert "with their records: PVC (6); " in notice


def test_codes_that_came_into_the_headers_after_adding_are_said(tmp_path: Path) -> None:
    def write(code: str) -> None:
        for number in range(6):
            comments = (f"#Dx: {(code, '59118001')[number % 2]}",)
            codes = as_codes(synthetic_millivolts(5000, 500, number))
            write_challenge_record(tmp_path / "ecgs", f"r{number}", codes, comments=comments)

    write("164889003")
    add_corpus("mine", tmp_path / "ecgs", root=tmp_path / "data", progress=False)
    write("164890007")
    notices = " ".join(open_corpus("mine", root=tmp_path / "data").table.notices)
    assert "with their records: 164890007 (3); " in notices
    assert "no record has 164889003: " in notices


def test_a_record_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    corpus, _ = add(write_folder(tmp_path))
    (corpus.root / "r01.csv").write_text("I,II\n1,2\n")
    with pytest.raises(RecordError, match="V1"):
        corpus.read("r01")


@pytest.mark.real
def test_real_recordings_as_an_own_corpus_are_those_of_the_published_one(tmp_path: Path) -> None:
    published = open_corpus("cpsc2018", root=real_folder("cpsc2018").parent, source="real")
    own = add_corpus("mine", real_folder("cpsc2018"), root=tmp_path, progress=False)
    assert own.places.keys() >= {file.removesuffix(".hea") for file in published.table.files}
    for record_id, file in list(zip(published.table.record_ids, published.table.files, strict=True))[::10]:
        np.testing.assert_array_equal(own.read(file.removesuffix(".hea")).signal, published.read(record_id).signal)


def test_labels_of_which_nothing_can_be_learnt_are_named(tmp_path: Path) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(4)])
    labels = {"AF": [1, 1, 1, 1], "MI": [0, 1, 0, 0], "pacemaker": [0, 0, 0, 0]}
    corpus = corpus_from_arrays(signals, labels, sampling_rate=100, name="same", root=tmp_path)
    said = describe(corpus, open_cache(corpus, DataConfig().preprocessing(corpus.spec), tmp_path / "cache"))
    assert "nothing can be learnt of AF, pacemaker: all records have it, or none" in said
