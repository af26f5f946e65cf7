from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.corpora.scp_statements import SCP_STATEMENTS
from data_modules.simulation import CONDITIONS
from data_modules.simulation.corpora.cinc import CPSC2018, GEORGIA
from data_modules.simulation.corpora.ptb import LOCALISATIONS, VARIANTS
from data_modules.simulation.corpora.ptbxl import conditions_present
from data_modules.simulation.corpora.scp_labels import (
    CONDITIONS_OF,
    FORMS,
    PUBLISHED,
    RHYTHMS,
    STATEMENTS,
    SUPERCLASSES,
    deal_scp_records,
)
from data_modules.simulation.prevalence import CLASHES, add_incidental, deal, drop_overcalls, group_patients, quotas


def test_quotas_by_hand() -> None:
    counts = {"common": 500, "rare": 10}
    assert quotas(counts, 1000, 1000) == counts
    assert quotas(counts, 1000, 2000) == {"common": 1000, "rare": 20}
    assert quotas(counts, 1000, 500) == {"common": 250, "rare": 10}, "2 % of 500"
    assert quotas(counts, 1000, 100) == {"common": 50, "rare": 4}, "four at least"
    assert quotas(counts, 1000, 2) == {"common": 1, "rare": 1}


@settings(max_examples=60, deadline=None)
@given(num_records=st.integers(60, 400), single=st.floats(0, 1), seed=st.integers(0, 99))
def test_deal_meets_quotas_and_keeps_rivals_apart(num_records: int, single: float, seed: int) -> None:
    quota = {"NORM": num_records // 4, "a": num_records // 5, "b": num_records // 6, "c": num_records // 10}
    dealt = deal(quota, num_records, np.random.default_rng(seed), exclusive=[{"a", "b"}], single=single)
    assert Counter(label for labels in dealt for label in labels) == quota
    assert not any({"a", "b"} <= set(labels) for labels in dealt)
    assert all(labels == ("NORM",) for labels in dealt if "NORM" in labels)


def test_single_decides_how_often_labels_meet() -> None:
    quota = {"a": 100, "b": 100}
    apart, together = (deal(quota, 400, np.random.default_rng(0), single=single) for single in (1.0, 0.0))
    assert max(map(len, apart)) == 1
    assert sum(len(labels) == 2 for labels in together) == 100


def test_incidental_findings_respect_clashes_and_share() -> None:
    assert set(CLASHES) <= set(CONDITIONS)
    dealt = [("NORM",), ("LBBB",), ("AF", "STD"), ()] * 500
    hearts = add_incidental(dealt, 0.4, np.random.default_rng(0))
    extra = [set(heart) - set(labels) for heart, labels in zip(hearts, dealt, strict=True)]
    assert all(set(labels) <= set(heart) for heart, labels in zip(hearts, dealt, strict=True))
    assert {name for found in extra[0::4] for name in found} == {"SARRH", "HVOLT", "LOWT"}
    assert not {name for found in extra[1::4] for name in found} & {"LVH", "IRBBB", "IVCD"}
    assert np.mean([bool(found) for found in extra[3::4]]) == pytest.approx(0.4, abs=0.06)


def test_overcalls_drop_their_share() -> None:
    dealt = [("AF", "STD")] * 2000
    hearts = drop_overcalls(dealt, 0.1, np.random.default_rng(0))
    assert np.mean(["AF" in heart for heart in hearts]) == pytest.approx(0.9, abs=0.02)
    assert np.mean([len(heart) for heart in hearts]) == pytest.approx(1.8, abs=0.04)
    assert drop_overcalls(dealt, 0.0, np.random.default_rng(0)) == dealt


def test_patients_share_a_key() -> None:
    keys = ["MI"] * 300 + ["HC"] * 100
    patients = group_patients(keys, {"MI": 2.5}, np.random.default_rng(0))
    assert len({(patient, key) for patient, key in zip(patients, keys, strict=True)}) == len(set(patients))
    sizes = Counter(patients)
    assert np.mean([sizes[patient] for patient in set(patients[:300])]) == pytest.approx(2.5, abs=0.3)
    assert all(sizes[patient] == 1 for patient in patients[300:])
    assert sorted(set(patients)) == list(range(len(set(patients))))


def test_a_full_ptbxl_has_the_published_superclasses() -> None:
    records = deal_scp_records(PUBLISHED, np.random.default_rng(0))
    assert Counter(name for record in records for name in record.superclasses) == SUPERCLASSES
    class_of = {statement.code: statement.diagnostic_class for statement in SCP_STATEMENTS}
    for record in records:
        assert {class_of[code] for code in record.codes} - {""} == set(record.superclasses)
    counts = Counter(code for record in records for code in record.codes)
    for code, published in {"IMI": 2685, "LVH": 2137, "AFIB": 1514, "PVC": 1146, "SR": 16782}.items():
        assert counts[code] == pytest.approx(published, rel=0.3)


def test_every_statement_has_an_effect() -> None:
    known = {statement.code for statement in SCP_STATEMENTS}
    written = {code for group in STATEMENTS.values() for code in group} | set(RHYTHMS) | set(FORMS)
    assert written <= set(CONDITIONS_OF) <= known
    assert {name for names in CONDITIONS_OF.values() for name in names} <= set(CONDITIONS)
    assert {code for code, names in CONDITIONS_OF.items() if not names} == {"SR", "ABQRS", "STD_"}
    for record in deal_scp_records(2000, np.random.default_rng(1)):
        assert "STD_" not in record.codes or {"ISC_", "NST_"} & set(record.codes)


def test_every_label_of_the_other_corpora_has_an_effect() -> None:
    for corpus in (CPSC2018, GEORGIA):
        assert {name for name, _ in (corpus.labels | corpus.others).values()} <= set(CONDITIONS)
    walls = {f"{name}_ACUTE" for names in LOCALISATIONS.values() for name in names} - {"PMI_ACUTE"}
    variants = {name for choices in VARIANTS.values() for names in choices for name in names}
    assert walls | variants <= set(CONDITIONS)


def test_a_diagnosis_is_present_as_often_as_its_likelihood_says() -> None:
    likelihoods = {"IMI": 80.0, "LVH": 15.0, "1AVB": 100.0, "PVC": 0.0, "SR": 0.0}
    hearts = [conditions_present(likelihoods, np.random.default_rng(seed)) for seed in range(2000)]
    share = {name: np.mean([name in heart for heart in hearts]) for name in ("IMI", "LVH", "IAVB", "PVC")}
    assert share["IMI"] == pytest.approx(0.80, abs=0.03)
    assert share["LVH"] == pytest.approx(0.15, abs=0.03)
    assert share["IAVB"] == share["PVC"] == 1
