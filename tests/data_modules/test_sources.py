from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_modules import sources
from data_modules.corpora import CORPORA
from data_modules.corpus import SIMULATION_MARKER, CorpusNotFoundError
from data_modules.sources import corpus_named, data_root, open_corpus, will_simulate
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, int]]:
    """Register the fake corpus, and a simulation of it that writes it down and does it."""
    found: list[tuple[str, Path, int]] = []

    def simulate(name: str, root: Path, *, num_records: int, progress: bool) -> None:
        found.append((name, root, num_records))
        write_fake_corpus(root, random_labels(num_records))
        (root / SIMULATION_MARKER).write_text("{}")

    monkeypatch.setitem(CORPORA, "fake", FakeCorpus)
    monkeypatch.setitem(sources.SIMULATED_SIZES, "fake", 5)
    monkeypatch.setattr(sources, "simulate_corpus", simulate)
    return found


def test_the_root_is_the_argument_the_environment_or_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECG_DATA_ROOT", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("ECG_DATA_ROOT", "/from/environment")
    assert data_root() == Path("/from/environment")
    assert data_root("/given") == Path("/given")
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_root("~/ecg") == Path("/home/someone/ecg")


def test_auto_takes_the_disk_before_a_simulation(calls: list[tuple[str, Path, int]], tmp_path: Path) -> None:
    assert will_simulate("fake", tmp_path, "auto")
    simulated = open_corpus("fake", root=tmp_path)
    assert simulated.is_simulated
    assert calls == [("fake", tmp_path / "simulated" / "fake-5", 5)]
    write_fake_corpus(tmp_path / "fake", random_labels(3))
    assert not will_simulate("fake", tmp_path, "auto")
    real = open_corpus("fake", root=tmp_path, label_set="rhythm", sampling_rate=250)
    assert (real.root, real.is_simulated) == (tmp_path / "fake", False)
    assert (real.label_set, real.sampling_rate) == ("rhythm", 250)
    assert len(calls) == 1


def test_simulated_never_takes_the_disk(calls: list[tuple[str, Path, int]], tmp_path: Path) -> None:
    write_fake_corpus(tmp_path / "fake", random_labels(3))
    assert will_simulate("fake", tmp_path, "simulated")
    assert open_corpus("fake", root=tmp_path, source="simulated", num_simulated=7).is_simulated
    assert calls == [("fake", tmp_path / "simulated" / "fake-7", 7)]


@pytest.mark.parametrize("source", ["Real", "disk", None])
def test_an_unknown_source_is_never_a_simulation(
    calls: list[tuple[str, Path, int]],
    tmp_path: Path,
    source: Any,  # noqa: ANN401
) -> None:
    for look in (
        lambda: open_corpus("fake", root=tmp_path, source=source),
        lambda: will_simulate("fake", tmp_path, source),
    ):
        with pytest.raises(ValueError, match="expected one of auto, real, simulated"):
            look()
    assert calls == []


def test_real_refuses_and_says_what_mends_it(calls: list[tuple[str, Path, int]], tmp_path: Path) -> None:
    assert not will_simulate("fake", tmp_path, "real")
    with pytest.raises(CorpusNotFoundError) as error:
        open_corpus("fake", root=tmp_path, source="real")
    for part in (str(tmp_path / "fake"), "looked for fake.json", FakeCorpus.spec.url, "data.root", "source=simulated"):
        assert part in str(error.value)
    assert calls == []


def test_simulated_files_in_the_corpuss_place_are_not_real(calls: list[tuple[str, Path, int]], tmp_path: Path) -> None:
    write_fake_corpus(tmp_path / "fake", random_labels(3))
    (tmp_path / "fake" / SIMULATION_MARKER).write_text("{}")
    with pytest.raises(CorpusNotFoundError, match="what lies there is simulated"):
        open_corpus("fake", root=tmp_path, source="real")
    assert will_simulate("fake", tmp_path, "auto")
    assert open_corpus("fake", root=tmp_path).is_simulated


def test_every_corpus_can_be_simulated_by_default() -> None:
    assert set(sources.SIMULATED_SIZES) == set(CORPORA)
    assert all(corpus_named(name) is corpus for name, corpus in CORPORA.items())


@pytest.mark.parametrize(("name", "meant"), [("ptb-xl", "ptbxl"), ("CPSC2018", "cpsc2018"), ("Georgi", "georgia")])
def test_a_misspelt_corpus_is_recognised(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"there is no corpus '{name}': .*did you mean '{meant}'"):
        open_corpus(name)
