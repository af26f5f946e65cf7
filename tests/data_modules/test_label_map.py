from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ecg_transfer as et
from data_modules.corpora import CORPORA
from data_modules.label_map import EQUAL, SCP_CODES, label_concepts, match_labels, shared_labels
from tests.data_modules.ecg_files import synthetic_millivolts


def labels(corpus: str, label_set: str | None = None) -> tuple[str, ...]:
    sets = CORPORA[corpus].spec.label_sets
    return sets[label_set or next(iter(sets))]


def shared(upstream: str, downstream: str, label_set: str | None = None) -> dict[str, str]:
    return shared_labels(match_labels(upstream, labels(upstream, label_set), downstream, labels(downstream)))


@pytest.mark.parametrize(
    ("upstream", "label_set", "downstream", "expected"),
    [
        ("cpsc2018", None, "georgia", {"NORM": "NORM", "AF": "AF", "IAVB": "IAVB", "PAC": "PAC"}),
        ("cpsc2018", None, "ribeiro", {"1dAVb": "IAVB", "RBBB": "RBBB", "LBBB": "LBBB", "AF": "AF"}),
        ("georgia", None, "ribeiro", {"1dAVb": "IAVB", "SB": "SB", "AF": "AF", "ST": "STach"}),
        ("ptbxl", None, "ptb", {"MI": "MI"}),
        ("ptbxl", None, "cpsc2018", {"NORM": "NORM"}),
        ("ptbxl", "rhythm", "ribeiro", {"SB": "SBRAD", "AF": "AFIB", "ST": "STACH"}),
        (
            "ptbxl",
            "all",
            "cpsc2018",
            {
                "NORM": "NORM", "AF": "AFIB", "IAVB": "1AVB", "LBBB": "CLBBB", "RBBB": "CRBBB", "PAC": "PAC",
                "VEB": "PVC", "STD": "STD_", "STE": "STE_",
            },
        ),
        ("ptb", None, "cpsc2018", {}),
    ],
)  # fmt: skip
def test_labels_that_mean_the_same(
    upstream: str, label_set: str | None, downstream: str, expected: dict[str, str]
) -> None:
    assert shared(upstream, downstream, label_set) == expected


def relation(upstream: str, theirs: str, downstream: str, ours: str, label_set: str | None = None) -> str | None:
    matches = match_labels(upstream, labels(upstream, label_set), downstream, labels(downstream))
    found = [match.relation for match in matches if (match.upstream, match.downstream) == (theirs, ours)]
    return found[0] if found else None


def test_classes_hold_their_statements_in_either_direction() -> None:
    assert relation("ptbxl", "CD", "cpsc2018", "RBBB") == "broader"
    assert relation("ptbxl", "HYP", "cpsc2018", "RBBB") is None
    assert relation("ptbxl", "ASMI", "ptb", "MI", "all") == "narrower"
    assert relation("ptbxl", "AMI", "ptb", "MI", "subdiagnostic") == "narrower"
    assert relation("ptbxl", "INVT", "georgia", "TAb", "all") == "narrower"
    assert relation("ptbxl", "LNGQT", "georgia", "LQT", "all") == "same"
    back = match_labels("cpsc2018", labels("cpsc2018"), "ptbxl", labels("ptbxl"))
    assert ("RBBB", "CD", "narrower") in {(match.upstream, match.downstream, match.relation) for match in back}


def test_normal_is_not_everywhere_the_same() -> None:
    assert relation("ptbxl", "NORM", "georgia", "NORM") == "narrower"  # Georgia's code is sinus rhythm
    assert relation("ptbxl", "NORM", "ribeiro", "NORM") == "narrower"  # none of six is less than normal
    assert relation("ptbxl", "NORM", "ptb", "NORM") == "broader"  # healthy persons, not normal ECGs


def test_codes_of_the_corpora_are_the_challenges_own() -> None:
    for corpus in ("cpsc2018", "georgia"):
        for code, label in CORPORA[corpus].label_codes.items():  # type: ignore[attr-defined]
            assert EQUAL.get(code, code) in label_concepts(corpus, labels(corpus))[label]
    assert set(SCP_CODES) <= set(labels("ptbxl", "all"))
    assert all(label_concepts("ptbxl", labels("ptbxl", task)) for task in CORPORA["ptbxl"].spec.label_sets)
    assert len(set(SCP_CODES.values())) == len(SCP_CODES)
    assert all(target not in EQUAL for target in EQUAL.values())


def test_every_label_of_a_published_corpus_has_a_concept_and_is_itself() -> None:
    for corpus, kind in CORPORA.items():
        for names in kind.spec.label_sets.values():
            assert all(label_concepts(corpus, names).values())
            matches = match_labels(corpus, names, corpus, names)
            assert shared_labels(matches) == {name: name for name in names}


def test_own_corpora_match_by_code_or_by_name(tmp_path: Path) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=number) for number in range(30)])
    columns = {"flimmern": np.arange(30) % 2, "PAC": np.arange(30) % 3 == 0}
    et.corpus_from_arrays(signals, columns, sampling_rate=100, name="mine", root=tmp_path)
    ours = ("flimmern", "PAC")
    found = match_labels("cpsc2018", labels("cpsc2018"), "mine", ours, tmp_path)
    assert [(match.upstream, match.downstream, match.basis) for match in found] == [("PAC", "PAC", "name")]
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("labels:\n", "labels:\n  codes:\n    '164889003': flimmern\n", 1))
    found = match_labels("cpsc2018", labels("cpsc2018"), "mine", ours, tmp_path)
    assert shared_labels(found) == {"flimmern": "AF", "PAC": "PAC"}
    assert shared_labels(match_labels("unheard of", ["PAC", "af"], "mine", ours, tmp_path)) == {"PAC": "PAC"}


def test_own_labels_named_by_codes_have_those_concepts(tmp_path: Path) -> None:
    text = "name: mine\npath: x\nformat: wfdb\nlabels:\n  style: header\n  names: ['164889003', MI, AF2]\n"
    (tmp_path / "mine.yaml").write_text(text + "  codes: {MI: MI, AMI: MI, '164890007': AF2}\n")
    concepts = label_concepts("mine", ["164889003", "MI", "AF2"], tmp_path)
    assert concepts == {"164889003": ("164889003",), "MI": (), "AF2": ("164890007",)}
    found = match_labels("cpsc2018", labels("cpsc2018"), "mine", ("164889003", "MI"), tmp_path)
    assert shared_labels(found) == {"164889003": "AF"}
