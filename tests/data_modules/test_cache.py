from __future__ import annotations

import errno
import multiprocessing
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_modules import cache as cache_module
from data_modules import ingest as ingest_module
from data_modules.cache import Cache, fingerprint, open_cache, remove_caches
from data_modules.config import DataConfig, Preprocessing
from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.corpus import CorpusFormatError, Record
from data_modules.datamodule import ECGDataModule
from data_modules.own.definition import Definition, LabelRules
from data_modules.own.own_corpus import OwnCorpus
from data_modules.signal import prepare
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts, write_challenge_record
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus

WANTED = Preprocessing(num_samples=150)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def corpus(tmp_path: Path) -> FakeCorpus:
    return write_fake_corpus(tmp_path / "fake", random_labels(8))


def assert_holds(cache: Cache, corpus: FakeCorpus | CPSC2018, wanted: Preprocessing) -> None:
    assert cache.record_ids == corpus.table.record_ids
    assert cache.signals.shape == (len(corpus.table), wanted.num_samples, 12)
    assert cache.signals.dtype == np.float32
    for row in np.flatnonzero(cache.kept):
        record = corpus.read(cache.record_ids[row])
        expected = prepare(record.signal, record.sampling_rate, wanted)
        assert np.array_equal(cache.signals[row], expected.T)


def test_holds_what_was_read_and_prepared(corpus: FakeCorpus, tmp_path: Path) -> None:
    cache = open_cache(corpus, WANTED, tmp_path / "cache")
    assert_holds(cache, corpus, WANTED)
    assert cache.kept.all()
    assert len(set(cache.digests.tolist())) == 8
    assert list((tmp_path / "cache").iterdir()) == [cache.path]


def test_holds_records_of_a_published_layout(tmp_path: Path) -> None:
    for number in range(3):
        codes = as_codes(synthetic_millivolts(1200 + 100 * number, 500, seed=number))
        write_challenge_record(tmp_path / "cpsc2018" / "g1", f"A{number:04d}", codes)
    corpus = CPSC2018(tmp_path / "cpsc2018")
    wanted = Preprocessing(num_samples=250, crop="center")
    cache = open_cache(corpus, wanted, tmp_path / "cache")
    assert cache.set_aside == {"A0000": ("short", "A0000 is 2.4 s long, 2.5 s are needed")}
    assert cache.kept.tolist() == [False, True, True]
    assert_holds(cache, corpus, wanted)


def test_is_built_once(corpus: FakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_cache(corpus, WANTED, tmp_path / "cache")

    def refuse(self: FakeCorpus, record_id: str) -> Record:
        raise AssertionError(f"{record_id} was read again")

    monkeypatch.setattr(FakeCorpus, "read", refuse)
    again = open_cache(FakeCorpus(corpus.root), Preprocessing(num_samples=150, scale="zscore"), tmp_path / "cache")
    assert again.path == first.path  # scaling is not part of it
    assert np.array_equal(again.signals, first.signals)
    assert (again.set_aside, again.notes) == (first.set_aside, first.notes)


def test_is_built_again_when_a_file_changes(corpus: FakeCorpus, tmp_path: Path) -> None:
    before = open_cache(corpus, WANTED, tmp_path / "cache")
    np.save(corpus.root / "r003.npy", synthetic_millivolts(200, 100, seed=99).astype(np.float32))
    changed = FakeCorpus(corpus.root)
    after = open_cache(changed, WANTED, tmp_path / "cache")
    assert after.path != before.path
    assert_holds(after, changed, WANTED)
    same = before.digests == after.digests
    assert np.flatnonzero(~same).tolist() == [3]


def test_is_built_again_when_the_samples_beside_a_header_change(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(1500, 500))
    header = write_challenge_record(tmp_path / "g1", "A0001", codes)
    before = fingerprint(CPSC2018(tmp_path), WANTED)
    samples = header.with_suffix(".mat")
    os.utime(samples, ns=(0, 0))
    assert fingerprint(CPSC2018(tmp_path), WANTED) != before


def own_wfdb(folder: Path) -> OwnCorpus:
    rules = LabelRules(style="header", names=("426783006",))
    return OwnCorpus(Definition(name="mine", path=str(folder), format="wfdb", labels=rules), folder)


def test_is_built_again_when_samples_of_another_name_change(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(1500, 500))
    header = write_challenge_record(tmp_path / "plain", "A0001", codes)
    header.write_text(header.read_text().replace("A0001.mat", "A0001.ecg"))
    samples = header.with_suffix(".mat").rename(header.with_suffix(".ecg"))
    write_challenge_record(tmp_path / "parts", "a1", codes, comments=())
    write_challenge_record(tmp_path / "parts", "a2", codes, comments=())
    (tmp_path / "parts" / "a.hea").write_text("a/2 12 500 3000\na1 1500\na2 1500\n#Dx: 426783006\n")
    wanted = Preprocessing(num_samples=150)
    for folder, changed in ((samples.parent, samples), (tmp_path / "parts", tmp_path / "parts" / "a2.mat")):
        assert len(own_wfdb(folder).table) == 1
        (before,) = {fingerprint(own_wfdb(folder), wanted) for _ in range(2)}
        os.utime(changed, ns=(0, 0))
        assert fingerprint(own_wfdb(folder), wanted) != before


def test_headers_with_samples_beside_them_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_challenge_record(tmp_path / "g1", "A0001", as_codes(synthetic_millivolts(1500, 500)))
    monkeypatch.setattr(cache_module, "files_of", None)  # is not called
    fingerprint(CPSC2018(tmp_path), WANTED)


def test_caches_of_a_name_are_removed_and_those_of_longer_names_are_not(tmp_path: Path) -> None:
    number = "0123456789abcdef"
    ours = [f"mine-{number}.h5", f"mine-{number}.checks.npz"]
    others = [f"mine-2-{number}.h5", f"mine-{number}-{number}.h5", "mine-notes.h5", f"yours-{number}.h5"]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    remove_caches("mine", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize(
    "other",
    [
        Preprocessing(num_samples=149),
        Preprocessing(num_samples=150, sampling_rate=50),
        Preprocessing(num_samples=150, resample="stride"),
        Preprocessing(num_samples=150, crop="center"),
        Preprocessing(num_samples=150, short="pad"),
    ],
)
def test_each_preprocessing_has_a_cache_of_its_own(corpus: FakeCorpus, other: Preprocessing) -> None:
    assert fingerprint(corpus, other) != fingerprint(corpus, WANTED)


def test_counts_why_records_were_set_aside_and_what_was_mended(corpus: FakeCorpus, tmp_path: Path) -> None:
    (corpus.root / "r001.npy").unlink()
    np.save(corpus.root / "r002.npy", np.zeros((12, 200), np.float32))
    np.save(corpus.root / "r004.npy", np.zeros((12, 200), np.float32))
    np.save(corpus.root / "r005.npy", synthetic_millivolts(149, 100).astype(np.float32))
    holed = np.load(corpus.root / "r006.npy")
    holed[0, 50:52] = np.nan
    np.save(corpus.root / "r006.npy", holed)
    cache = open_cache(FakeCorpus(corpus.root), WANTED, tmp_path / "cache")
    assert cache.counts() == {"set_aside": {"flat": 2, "short": 1, "unreadable": 1}, "notes": {"gap_filled": 1}}
    assert np.flatnonzero(~cache.kept).tolist() == [1, 2, 4, 5]
    assert np.flatnonzero(cache.digests == 0).tolist() == [1, 2, 4, 5]
    assert np.isfinite(cache.signals[cache.kept]).all()
    padded = open_cache(FakeCorpus(corpus.root), Preprocessing(num_samples=150, short="pad"), tmp_path / "cache")
    assert padded.counts()["notes"] == {"gap_filled": 1, "padded": 1}
    assert not padded.signals[5, 149:].any()


def test_copies_have_one_digest(corpus: FakeCorpus, tmp_path: Path) -> None:
    np.save(corpus.root / "r007.npy", np.load(corpus.root / "r002.npy"))
    digests = open_cache(FakeCorpus(corpus.root), WANTED, tmp_path / "cache").digests
    assert digests[7] == digests[2]
    assert len(set(digests.tolist())) == 7


def test_a_corpus_without_a_usable_record_says_so(tmp_path: Path) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(3), seconds=1)
    with pytest.raises(CorpusFormatError, match=r"none of the 3 records .*r000: short: r000 is 1 s long"):
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_corpus_without_records_says_so(tmp_path: Path) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(0))
    with pytest.raises(CorpusFormatError, match="its table has no rows"):
        open_cache(corpus, WANTED, tmp_path / "cache")


def test_a_reader_that_fails_leaves_nothing(
    corpus: FakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FakeCorpus.read

    def fail_late(self: FakeCorpus, record_id: str) -> Record:
        if record_id == "r005":
            raise MemoryError("in the middle")
        return read(self, record_id)

    monkeypatch.setattr(FakeCorpus, "read", fail_late)
    with pytest.raises(MemoryError, match="in the middle"):
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(
    corpus: FakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=10, f_frsize=1000))
    with pytest.raises(OSError, match=r"needs 0\.00 GB and .*cache has 0\.00 GB left; .*ECG_DATA_ROOT") as error:
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert error.value.errno == 28  # ENOSPC on every Unix
    assert list((tmp_path / "cache").iterdir()) == []


def test_workers_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(40))
    (corpus.root / "r017.npy").unlink()
    serial = open_cache(FakeCorpus(corpus.root), WANTED, tmp_path / "serial")
    monkeypatch.setattr(ingest_module, "CHUNK", 7)
    monkeypatch.setattr(ingest_module, "PARALLEL_FROM", 14)
    in_parent: list[str] = []
    read = FakeCorpus.read

    def note(self: FakeCorpus, record_id: str) -> Record:
        in_parent.append(record_id)  # what a worker appends stays in the worker
        return read(self, record_id)

    monkeypatch.setattr(FakeCorpus, "read", note)
    parallel = open_cache(FakeCorpus(corpus.root), WANTED, tmp_path / "parallel")
    assert (in_parent == []) == (sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1)
    assert parallel.path.read_bytes() == serial.path.read_bytes()
    assert parallel.set_aside.keys() == {"r017"}


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_a_worker_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(20))
    monkeypatch.setattr(ingest_module, "CHUNK", 5)
    monkeypatch.setattr(ingest_module, "PARALLEL_FROM", 10)
    np.save(corpus.root / "r011.npy", np.zeros(3))  # no (leads, samples): the reader's own mistake, not a bad record
    with pytest.raises((ValueError, IndexError)):
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_fails_while_records_are_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(20))
    monkeypatch.setattr(ingest_module, "CHUNK", 5)
    syncs: list[int] = []

    def sync_but_once(self: ingest_module.SharedRows) -> None:
        syncs.append(len(syncs))
        if len(syncs) == 1:  # a system says so once, to whoever asks first
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(ingest_module.SharedRows, "sync", sync_but_once)
    with pytest.raises(OSError, match="Input/output error"):
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_claim_of_a_builder_that_was_killed_after_its_work_is_removed(corpus: FakeCorpus, tmp_path: Path) -> None:
    built = open_cache(corpus, WANTED, tmp_path / "cache").path
    killed = (
        "import os; from pathlib import Path; from data_modules.claim import claimed\n"
        f"with claimed(Path({str(built)!r})): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", killed], cwd=REPOSITORY, check=False).returncode == 9
    assert len(list(built.parent.iterdir())) == 2
    open_cache(corpus, WANTED, tmp_path / "cache")
    assert list(built.parent.iterdir()) == [built]


def _open_with_others(root: Path, folder: Path, barrier: object, log: Path) -> None:
    build = cache_module._build

    def noted(*arguments: object) -> None:
        with log.open("a") as stream:
            stream.write("built\n")
        build(*arguments)  # type: ignore[arg-type]

    cache_module._build = noted  # type: ignore[assignment]
    barrier.wait()  # type: ignore[attr-defined]
    cache = open_cache(FakeCorpus(root), WANTED, folder)
    assert_holds(cache, FakeCorpus(root), WANTED)


@pytest.mark.parametrize("number", [2, 8])
def test_of_processes_that_want_a_cache_at_once_one_builds_it(corpus: FakeCorpus, tmp_path: Path, number: int) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(number)
    arguments = (corpus.root, tmp_path / "cache", barrier, tmp_path / "log")
    processes = [context.Process(target=_open_with_others, args=arguments) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * number
    assert (tmp_path / "log").read_text() == "built\n"
    (path,) = (tmp_path / "cache").iterdir()
    assert re.fullmatch(r"fake-[0-9a-f]{16}\.h5", path.name)
    assert_holds(open_cache(corpus, WANTED, tmp_path / "cache"), corpus, WANTED)


def test_a_disk_that_fills_up_is_told_before_a_signal_is_written(
    corpus: FakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write into a mapped file that has no room would kill the process (SIGBUS)."""

    def full(descriptor: int, offset: int, length: int) -> None:
        assert length == 8 * 150 * 12 * 4
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        open_cache(corpus, WANTED, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "no longer HDF5", "another log", "other records"])
def test_a_damaged_cache_is_built_anew(
    corpus: FakeCorpus, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = open_cache(corpus, WANTED, tmp_path / "cache")
    content = good.path.read_bytes()
    if damage == "another log":
        assert content.count(b'{"set_aside": {}') == 1
        good.path.write_bytes(content.replace(b'{"set_aside": {}', b'{"set_aside":{} '))
    elif damage == "other records":
        good.path.write_bytes(content.replace(b"r003", b"r0o3"))
    else:
        broken = {"empty": b"", "cut": content[: len(content) // 2], "no longer HDF5": b"?" + content[1:]}
        good.path.write_bytes(broken[damage])
    again = open_cache(corpus, WANTED, tmp_path / "cache")
    assert again.path.read_bytes() == content
    assert "is damaged (" in capsys.readouterr().err
    open_cache(corpus, WANTED, tmp_path / "cache")
    assert capsys.readouterr().err == ""


def test_every_changed_byte_of_a_signal_is_noticed(corpus: FakeCorpus, tmp_path: Path) -> None:
    cache = open_cache(corpus, WANTED, tmp_path / "cache")
    rows = np.arange(8)
    assert not cache.is_damaged(rows)
    start, rng = cache.signals.offset, np.random.default_rng(0)
    with cache.path.open("rb+") as stream:
        for place in rng.integers(0, cache.signals.nbytes, size=40).tolist():
            stream.seek(start + place)
            (byte,) = stream.read(1)
            stream.seek(start + place)
            stream.write(bytes([byte ^ 1 << place % 8]))
            stream.flush()
            row = place // cache.signals[0].nbytes
            assert cache.is_damaged(rows)
            assert cache.is_damaged(np.array([row]))
            assert not cache.is_damaged(np.delete(rows, row))
            stream.seek(start + place)
            stream.write(bytes([byte]))
            stream.flush()
    assert not cache.is_damaged(rows)


def test_a_training_is_never_given_a_signal_that_has_rotted(corpus: FakeCorpus, tmp_path: Path) -> None:
    config = DataConfig(corpus="fake", root=str(tmp_path), num_samples=150)
    module = ECGDataModule(config, corpus=corpus, batch_size=4)
    module.setup()
    expected, path, row = np.array(module.cache.signals), module.cache.path, int(module.rows["train"][0])
    with path.open("rb+") as stream:
        stream.seek(module.cache.signals.offset + row * expected[0].nbytes + 99)
        stream.write(b"\x7f")
    again = ECGDataModule(config, corpus=FakeCorpus(corpus.root), batch_size=4)
    again.setup()
    assert np.array_equal(again.cache.signals, expected)


def test_the_same_records_make_the_same_bytes_at_another_time(corpus: FakeCorpus, tmp_path: Path) -> None:
    first = open_cache(corpus, WANTED, tmp_path / "first")
    time.sleep(1.1)  # HDF5 notes times in whole seconds
    second = open_cache(corpus, WANTED, tmp_path / "second")
    assert second.path.read_bytes() == first.path.read_bytes()
