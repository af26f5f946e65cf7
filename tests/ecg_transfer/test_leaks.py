"""What makes test scores too good is said of the runs that it was found in."""

from __future__ import annotations

from typing import Any

from ecg_transfer.leaks import leak_sentences, leaks_of


def manifest(corpus: str, upstream: dict[str, Any] | None = None, **checks: int) -> dict[str, Any]:
    return {"data": {"corpus": corpus}, "checks": checks, "upstream": upstream}


PRETRAINED: dict[str, Any] = {"run": "pretrain-ptbxl-gru-s0", "record_sets": None}
EXPORTED: dict[str, Any] = {"run": "a model", "record_sets": [{"array": "digests"}]}


def test_leaks_alone_are_counted() -> None:
    assert leaks_of(manifest("ptbxl", copy=12, copy_across_parts=2, flat_lead=3, patient_in_upstream=0)) == {
        "copy_across_parts": 2
    }
    assert leaks_of({"data": {"corpus": "ptb"}}) == {}, "a run of an older version"
    assert leak_sentences([manifest("ptbxl", copy=12), manifest("ptb")]) == []


def test_copies_of_an_exported_upstreams_records_are_leaks() -> None:
    overlap = {"evaluated_records_in_its_training": {"val": 3, "test": 12}}
    assert leaks_of(manifest("ptb", EXPORTED | overlap)) == {"copy_in_upstream": 15}
    assert leaks_of(manifest("ptb", PRETRAINED | overlap, copy_in_upstream=14)) == {"copy_in_upstream": 14}
    assert leaks_of(manifest("ptb", EXPORTED | {"evaluated_records_in_its_training": None})) == {}


def test_a_sentence_for_each_corpus_and_kind() -> None:
    said = leak_sentences(
        [
            manifest("ptb", EXPORTED, patient_in_upstream=1),
            manifest("ptbxl", copy_across_parts=2),
            manifest("ptbxl", PRETRAINED, copy_across_parts=4, patient_in_upstream=1),
            manifest("ptbxl"),
            manifest("georgia"),
        ]
    )
    assert said == [
        "Test scores on ptbxl may be too good: 2 to 4 x one recording in two parts of the split: its score there is no "
        "score on a new one (in 2 of 3 runs on it). `ecg-transfer data check ptbxl` names them.",
        "Test scores on ptb may be too good: 1 x a patient of evaluated records whom the upstream is trained on (in 1 "
        "of 1 runs on it).",
        "Test scores on ptbxl may be too good: 1 x a patient of evaluated records whom the upstream is trained on (in "
        "1 of 3 runs on it). `ecg-transfer data check ptbxl --against pretrain-ptbxl-gru-s0` names them.",
    ]
