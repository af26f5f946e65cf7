"""A table with a known truth gets the right verdict, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from ecg_transfer.runs import find_runs
from ecg_transfer.study.claims import CLAIMS, judge
from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.evidence import ClaimResult
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.results import Study, read_study
from ecg_transfer.study.verdict import MARGIN, Finding, all_of

if TYPE_CHECKING:
    from conftest import FakeRuns

SCRATCH = [0.60, 0.61, 0.62, 0.60, 0.61, 0.62, 0.61, 0.60]
WOBBLE = np.array([0.004, -0.004, 0.002, -0.002, 0.003, -0.003, 0.001, -0.001])


def result_of_claim(study: Study, name: str) -> ClaimResult:
    return next(result for result in judge(study) if result.id == name)


def arm(gain: float, noise: float = 1.0, num_seeds: int = 8) -> list[float]:
    return list((np.array(SCRATCH) + gain + noise * WOBBLE)[:num_seeds])


@pytest.fixture
def verdict(make_study: Callable[..., Study], fake_cell: Callable[..., object]) -> Callable[..., ClaimResult]:
    def of(claim: str, *cells: dict[str, Any]) -> ClaimResult:
        made = [fake_cell(**{"scratch": SCRATCH[: len(cell["finetune"])], **cell}) for cell in cells]
        return next(result for result in judge(make_study(made), num_draws=500) if result.id == claim)

    return of


def test_c1_supported_when_small_sets_gain_and_a_large_one_does_not(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C1", {"finetune": arm(0.05)}, {"finetune": arm(0.0), "downstream": "georgia", "num_train": 6895})
    assert result.verdict == "supported"
    assert result.estimate == pytest.approx(0.05, abs=1e-9)
    assert 0.04 < result.low < 0.05 < result.high < 0.06
    assert "1 of 2 cells exclude" in result.reason
    assert result.corpora == ("ptb",)
    assert result.num_seeds == 8
    assert result.p == 2 / 2**8
    assert result.p_holm is not None
    assert result.p_holm >= result.p


@pytest.mark.parametrize("gain", [0.0, 0.004, -0.05])
def test_c1_not_supported_when_small_sets_surely_do_not_gain_what_matters(
    verdict: Callable[..., ClaimResult], gain: float
) -> None:
    assert verdict("C1", {"finetune": arm(gain)}).verdict == "not supported"


@pytest.mark.parametrize("num_cells", [1, 2, 5, 6, 9])
def test_c1_not_supported_when_everything_improves_in_cells_enough(
    verdict: Callable[..., ClaimResult], num_cells: int
) -> None:
    """A coin that shows heads five times of five is no proof; six times, 2 / 2^6 = 0.03, is as few as count here."""
    cells = [{"finetune": arm(0.05), "num_train": 100 * number} for number in range(1, num_cells + 1)]
    result = verdict("C1", *cells)
    assert result.low > 0
    assert f"improves every one of {num_cells} cells" in result.reason
    if num_cells < 6:
        assert result.verdict == "inconclusive"
        assert "fewer than 6 tell of no exceptions" in result.reason
    else:
        assert result.verdict == "not supported"


@pytest.mark.parametrize(("standard_errors", "excluded"), [(3.7, False), (4.8, True)])
def test_c1_allows_for_many_cells_and_few_seeds(
    verdict: Callable[..., ClaimResult], standard_errors: float, excluded: bool
) -> None:
    """Student's t at 5 % over 12 cells, one-sided with 5 degrees of freedom, is 4.22; the normal quantile is 2.64."""
    assert stats.t.ppf(1 - 0.05 / 12, 5) == pytest.approx(4.22, abs=0.01)
    gains = MARGIN + (WOBBLE[:6] - WOBBLE[:6].mean())
    unsure = list(np.array(SCRATCH[:6]) + gains - standard_errors * stats.sem(gains))
    others = [{"finetune": arm(0.05, num_seeds=6), "num_train": 100 * number} for number in range(1, 12)]
    result = verdict("C1", *others, {"finetune": unsure, "num_train": 6895})
    assert ("1 of 12 cells exclude" in result.reason) is excluded


def test_c1_inconclusive_when_seeds_scatter(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C1", {"finetune": arm(0.01, noise=20)})
    assert result.verdict == "inconclusive"
    assert result.low < 0 < 0.01 < result.high


def test_c1_inconclusive_without_small_sets(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C1", {"finetune": arm(0.05), "num_train": 6895})
    assert result.verdict == "inconclusive"
    assert "at most 1000 training records" in result.reason


def sweep(*gains: float, noise: float = 1.0) -> list[dict[str, Any]]:
    sizes = (100, 400, 1600, 6400)
    return [
        {
            "finetune": arm(gain, noise),
            "num_train": size,
            "subset": float(size),
            "downstream": "ptbxl",
            "upstream": "georgia",
        }
        for gain, size in zip(gains, sizes, strict=True)
    ]


def test_c2_supported_when_the_gain_declines(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C2", *sweep(0.12, 0.08, 0.04, 0.0))
    assert result.verdict == "supported"
    assert result.estimate == pytest.approx(0.04 / np.log10(4))
    assert "scratch catches up" in result.reason


@pytest.mark.parametrize("gains", [(0.05, 0.05, 0.05, 0.05), (0.02, 0.04, 0.06, 0.08), (-0.02, -0.04, -0.06, -0.08)])
def test_c2_not_supported_when_it_is_flat_or_grows_or_there_is_none(
    verdict: Callable[..., ClaimResult], gains: tuple[float, ...]
) -> None:
    assert verdict("C2", *sweep(*gains)).verdict == "not supported"


def test_c2_tells_that_scratch_has_not_caught_up(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C2", *sweep(0.12, 0.09, 0.06, 0.03))
    assert result.verdict == "supported"
    assert "no crossover in range: fine-tuning is ahead up to 6400 records" in result.reason


def test_c2_inconclusive_with_two_sizes_or_much_scatter(verdict: Callable[..., ClaimResult]) -> None:
    assert verdict("C2", *sweep(0.12, 0.08, 0.04, 0.0)[:2]).verdict == "inconclusive"
    scattered = sweep(0.06, 0.06, 0.05, 0.05)
    for cell, sign in zip(scattered, (1, 1, -1, -1), strict=True):
        cell["finetune"] = arm(0.05, noise=20 * sign)
    assert verdict("C2", *scattered).verdict == "inconclusive"


def test_c3_supported_when_half_the_updates_do(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C3", {"finetune": arm(0.0), "finetune_updates": 20, "scratch_updates": 80})
    assert result.verdict == "supported"
    assert result.estimate == pytest.approx(0.25)


@pytest.mark.parametrize("updates", [80, 90, 1000])
def test_c3_not_supported_when_as_slow_slower_or_never(verdict: Callable[..., ClaimResult], updates: int) -> None:
    result = verdict("C3", {"finetune": arm(0.0), "finetune_updates": updates, "scratch_updates": 80})
    assert result.verdict == "not supported"
    assert result.estimate == pytest.approx(min(updates, 100) / 80)
    assert f"{8 if updates == 1000 else 0} fine-tunings never reach it" in result.reason


def test_c3_inconclusive_when_corpora_disagree_within_seeds(
    make_study: Callable[..., Study], fake_cell: Callable[..., object]
) -> None:
    cell = fake_cell(finetune=arm(0.0), scratch=SCRATCH, finetune_updates=50, scratch_updates=50)
    study = make_study([cell])
    for seed in range(8):
        fast = seed % 2 == 0
        rows = study.curves["run"] == f"finetune-0-s{seed}"
        study.curves.loc[rows, "val/f1_weighted"] = np.where(
            study.curves.loc[rows, "updates"] >= (20 if fast else 90), 0.8, 0.1
        )
    result = next(result for result in judge(study, num_draws=500) if result.id == "C3")
    assert result.verdict == "inconclusive"
    assert result.low < 0.9 < 1 < result.high


def families(cnn: float, rnn: float, pooled: float | None = None, noise: float = 1.0) -> list[dict[str, Any]]:
    cells = [{"finetune": arm(cnn), "backbone": "resnet1d18"}, {"finetune": arm(rnn, noise), "backbone": "lstm"}]
    return cells + ([] if pooled is None else [{"finetune": arm(pooled), "backbone": "lstm_mean"}])


def test_c4_supported_when_cnns_gain_more(verdict: Callable[..., ClaimResult]) -> None:
    result = verdict("C4", *families(0.06, 0.01))
    assert result.verdict == "supported"
    assert result.estimate == pytest.approx(0.05)
    assert "heads of the paper's RNNs hold most parameters" in result.reason


@pytest.mark.parametrize(("cnn", "rnn"), [(0.03, 0.03), (0.01, 0.06)])
def test_c4_not_supported_when_they_gain_the_same_or_less(
    verdict: Callable[..., ClaimResult], cnn: float, rnn: float
) -> None:
    assert verdict("C4", *families(cnn, rnn)).verdict == "not supported"


def test_c4_pooled_variants_decide_whether_the_head_explains_it(verdict: Callable[..., ClaimResult]) -> None:
    assert verdict("C4", *families(0.06, 0.01, pooled=0.01)).verdict == "supported"
    contradicted = verdict("C4", *families(0.06, 0.01, pooled=0.06))
    assert contradicted.verdict == "inconclusive"
    assert "the head may be the cause" in contradicted.reason


def test_c4_inconclusive_with_scatter_or_one_family(verdict: Callable[..., ClaimResult]) -> None:
    assert verdict("C4", *families(0.03, 0.01, noise=20)).verdict == "inconclusive"
    assert verdict("C4", {"finetune": arm(0.05)}).verdict == "inconclusive"


def test_five_seeds_never_give_a_verdict(verdict: Callable[..., ClaimResult]) -> None:
    for claim in CLAIMS:
        result = verdict(claim.id, {"finetune": arm(0.05, num_seeds=5)})
        assert result.verdict == "inconclusive"
        assert "1 cells with fewer than 6 seeds do not count" in result.reason


def test_simulated_cells_are_judged_apart_and_say_so(
    make_study: Callable[..., Study], fake_cell: Callable[..., object]
) -> None:
    cells = [fake_cell(finetune=arm(0.05), scratch=SCRATCH, simulated=simulated) for simulated in (False, True)]
    real, simulated = (result for result in judge(make_study(cells), num_draws=200) if result.id == "C1")
    assert (real.simulated, simulated.simulated) == (False, True)
    assert real.num_cells == simulated.num_cells == 1
    assert any("SIMULATED" in note for note in simulated.notes)
    assert not any("SIMULATED" in note for note in real.notes)


def test_real_corpora_count_the_same_however_many_cells_they_have(verdict: Callable[..., ClaimResult]) -> None:
    cells = [{"finetune": arm(0.08), "upstream": upstream} for upstream in ("ptbxl", "georgia", "cpsc2018")]
    result = verdict("C1", *cells, {"finetune": arm(0.02), "downstream": "ribeiro"})
    assert result.estimate == pytest.approx((0.08 + 0.02) / 2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.02, 0.05, "supported"), (-0.01, 0.05, "inconclusive"), (-0.05, 0.005, "not supported"),
     (0.001, 0.009, "not supported"), (float("nan"), float("nan"), "inconclusive")],
)  # fmt: skip
def test_rule_of_verdicts(low: float, high: float, expected: str) -> None:
    assert Finding(estimate=0.0, low=low, high=high, margin=0.01).verdict == expected


def test_a_claim_of_parts_is_as_good_as_its_worst() -> None:
    assert all_of("supported", "supported") == "supported"
    assert all_of("supported", "inconclusive") == "inconclusive"
    assert all_of("inconclusive", "not supported") == "not supported"


def test_runs_on_disk_are_judged_over_patients_and_seeds(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(6):
        fake_runs.run("finetune", upstream=upstream, seed=seed, skill=1.5, val_curve=(0.6, 0.6, 0.6, 0.6))
        fake_runs.run("scratch", seed=seed, skill=0.5)
    study = read_study(find_runs(fake_runs.output))
    results = judge(study)
    assert [result.id for result in results] == ["C1", "C2", "C3", "C4"]
    assert [result.verdict for result in results] == ["inconclusive", "inconclusive", "supported", "inconclusive"]
    assert results[2].estimate == pytest.approx(1 / 4)
    assert all(result.setting == "paper, lr 0.01, batch 256" for result in results)
    assert not any("exploratory" in note for note in results[0].notes)
    macro = judge(study, effects=cell_effects(find_cells(study.results), "f1_macro", num_draws=100))
    assert any("exploratory: val_selected/f1_macro" in note for note in macro[0].notes)
    assert [result.quantity for result in (results[0], macro[0])] == [
        "mean gain in F1 on small sets", "mean gain in macro F1 on small sets"
    ]  # fmt: skip


def test_cnns_and_rnns_of_other_labels_are_not_compared(
    make_study: Callable[..., Any], fake_cell: Callable[..., object]
) -> None:
    study = make_study([fake_cell(finetune=arm(0.1), scratch=arm(0)), fake_cell(finetune=arm(0), scratch=arm(0),
                                                                                backbone="gru")])  # fmt: skip
    assert result_of_claim(study, "C4").num_cells == 2
    study.results["label_set"] = study.results["backbone"].map({"resnet1d18": "all", "gru": "form"})
    assert result_of_claim(study, "C4").num_cells == 0


def test_a_claim_held_against_another_score_says_which(
    make_study: Callable[..., Any], fake_cell: Callable[..., object]
) -> None:
    study = make_study([fake_cell(finetune=[0.7] * 6, scratch=[0.6] * 6)])
    study.results["val_selected/auroc_macro"] = study.results["val_selected/f1_weighted"]
    found = judge(study, effects=cell_effects(find_cells(study.results), "auroc_macro", num_draws=100))
    quantities = " / ".join(result.quantity for result in found)
    assert "F1" not in quantities
    assert quantities.count("gain in macro AUROC") == 3


def test_learning_rates_are_judged_apart(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for lr in ("1e-2", "1e-3"):
        fake_runs.pair(upstream=upstream, overrides=[f"optim.lr={lr}"])
    settings = {result.setting for result in judge(read_study(find_runs(fake_runs.output)), num_draws=50)}
    assert settings == {"paper, lr 0.01, batch 256", "paper, lr 0.001, batch 256"}
