from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ecg_transfer as et
from data_modules.datamodule import ECGDataModule
from ecg_transfer.data_identity import DataChangedError
from ecg_transfer.finished_runs import RunLeftOutWarning
from ecg_transfer.transferability_cli import _worth
from ecg_transfer.upstream_choice.evidence import MIN_CELLS, MIN_MODELS, SCOPES, correlations, evidence_table
from ecg_transfer.upstream_choice.evidence_files import CELLS, CORRELATIONS, write_evidence
from ecg_transfer.upstream_choice.scores import MEASURES
from tests.ecg_transfer.tiny_backbone import NAME

RNG = np.random.default_rng(0)
SIZES = (20, 35, 50)


def made_cells(num_blocks: int = 3, per_block: int = 6, noise: float = 0.0) -> pd.DataFrame:
    """Cells in blocks of one size: LogME knows the gain within a block, MELEP its opposite, the blocks differ."""
    rows = [
        {
            "upstream": f"u{number}", "upstream_cell": f"u{number}", "backbone": "resnet1d18", "downstream": "ptb",
            "num_train": 100 * (block + 1), "gain": 0.01 * number - 0.1 * block + noise * RNG.normal(),
        }
        for block in range(num_blocks)
        for number in range(per_block)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    within = table.groupby("num_train")["gain"].transform("mean")
    return table.assign(
        logme=table["gain"] - within + table["num_train"],
        melep=-table["gain"],
        leep=RNG.normal(size=len(table)),
        probe=table["gain"] + 0.02 * RNG.normal(size=len(table)),
        knn=0.5,
        size=[1000.0 * (1 + number) for _ in range(num_blocks) for number in range(per_block)],
    )


def value(result: pd.DataFrame, measure: str, scope: str, statistic: str, column: str = "estimate") -> float:
    chosen = result[(result["measure"] == measure) & (result["scope"] == scope) & (result["statistic"] == statistic)]
    return chosen[column].item()


def test_a_measure_that_orders_the_gains_correlates_fully_whatever_its_direction() -> None:
    result = correlations(made_cells(), num_draws=30)
    assert set(result["measure"]) == set(MEASURES)
    assert (result["num_cells"] == 18).all()
    assert (result["num_models"] == 6).all()
    for statistic in ("tau_w", "rho"):
        assert value(result, "melep", SCOPES[0], statistic) == pytest.approx(1)
        assert value(result, "melep", SCOPES[0], statistic, "low") == pytest.approx(1)
        assert value(result, "logme", SCOPES[1], statistic) == pytest.approx(1)
    assert value(result, "logme", SCOPES[0], "rho") < 0  # across sizes it goes the wrong way
    assert value(result, "size", SCOPES[1], "rho") == pytest.approx(1)


def test_correlations_are_scipys() -> None:
    table = made_cells(noise=0.03)
    result = correlations(table, num_draws=50)
    for name, measure in MEASURES.items():
        if name == "knn":
            continue
        values = measure.sign * table[name]
        assert value(result, name, SCOPES[0], "rho") == pytest.approx(stats.spearmanr(values, table["gain"]).statistic)
        expected = stats.weightedtau(values, table["gain"]).statistic
        assert value(result, name, SCOPES[0], "tau_w") == pytest.approx(expected)


def test_the_interval_holds_the_estimate_and_excludes_no_luck() -> None:
    result = correlations(made_cells(4, 6, noise=0.02), num_draws=100)
    low, high = (value(result, "leep", SCOPES[0], "rho", limit) for limit in ("low", "high"))
    assert low < value(result, "leep", SCOPES[0], "rho") < high
    assert high - low > 0.4  # six models tell little of a measure that is noise


def test_three_sizes_of_a_model_are_one_witness_not_three() -> None:
    """Measure and gain are each a model's own and unrelated: an interval that excludes 0 does so by luck."""
    rng, num_studies, excluded = np.random.default_rng(1), 60, 0
    for study in range(num_studies):
        table = made_cells(3, 11).assign(logme=0.0, melep=0.0, probe=0.0, size=0.0)
        model = table["upstream_cell"].astype("category").cat.codes.to_numpy()
        table["gain"], table["leep"] = rng.normal(size=11)[model], rng.normal(size=11)[model]
        table[["gain", "leep"]] += 0.3 * rng.normal(size=(33, 2))
        result = correlations(table, num_draws=60, seed=study)
        low, high = (value(result, "leep", SCOPES[0], "rho", limit) for limit in ("low", "high"))
        excluded += not low <= 0 <= high
    assert excluded <= 6  # 3 at most expected; with draws of cells some 15


def test_few_models_give_a_correlation_without_an_interval() -> None:
    result = correlations(made_cells(3, MIN_MODELS - 1))
    assert value(result, "melep", SCOPES[0], "rho") == pytest.approx(1)
    assert np.isnan(value(result, "melep", SCOPES[0], "rho", "low"))
    assert "no interval: fewer than 5" in str(value(result, "melep", SCOPES[0], "rho", "note"))


def test_too_few_cells_and_constant_measures_give_no_number() -> None:
    few = correlations(made_cells(1, MIN_CELLS - 1))
    assert few["estimate"].isna().all()
    assert few["note"].str.contains("at least 5").all()
    constant = correlations(made_cells(), num_draws=20)
    assert np.isnan(value(constant, "knn", SCOPES[0], "rho"))
    assert "the same for all" in str(value(constant, "knn", SCOPES[0], "rho", "note"))
    assert correlations(pd.DataFrame())["estimate"].isna().all()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pre-trainings, and pairs from each at three sizes."""
    folder = tmp_path_factory.mktemp("evidence")
    fields = {
        "optim.max_epochs": 1, "optim.min_updates": 0, "optim.batch_size": 32, "data.num_simulated": 100,
        "trainer.accelerator": "cpu", "data.root": str(folder / "data"),
    }  # fmt: skip
    for corpus in ("georgia", "cpsc2018"):
        et.pretrain(corpus, backbone=NAME, overrides=fields, output=folder / "runs")
    for size in SIZES:
        options = {"backbone": NAME, "overrides": fields | {"data.subset": size}, "output": folder / "runs"}
        et.train_from_scratch("ptb", **options)  # type: ignore[arg-type]
        for corpus in ("georgia", "cpsc2018"):
            et.finetune("ptb", upstream=corpus, **options)  # type: ignore[arg-type]
    return folder / "runs"


def test_cells_have_the_measured_gain_and_the_scores_that_the_command_gives(output: Path, tmp_path: Path) -> None:
    table = evidence_table(et.find_runs(output), output=output, trust=True)
    assert len(table) == 6
    assert sorted(set(table["num_train"])) == list(SIZES)
    pairs = {(p.upstream, p.finetune.config.data.subset): p for p in et.find_pairs(output)}
    for row in table.to_dict("records"):
        pair = pairs[row["upstream"], row["num_train"]]
        gain = [run.scores["val_selected"].f1_weighted for run in (pair.finetune, pair.scratch)]
        assert row["gain"] == pytest.approx(gain[0] - gain[1])
        fields = {"data.root": str(output.parent / "data"), "data.num_simulated": 100, "data.subset": row["num_train"]}
        alone = et.transferability("ptb", [row["upstream"]], overrides=fields, output=output, trust=True).candidates[0]
        for name in ("probe", "knn", "logme", "leep", "melep", "size"):
            assert row[name] == pytest.approx(getattr(alone, name), rel=1e-6)
    lines = write_evidence(et.find_runs(output), tmp_path, output=output, trust=True)
    assert "SIMULATED" in lines[0]
    assert "only 2 pre-trained models" in "\n".join(lines)
    assert len(pd.read_csv(tmp_path / CELLS)) == 6
    assert set(pd.read_csv(tmp_path / CORRELATIONS)["measure"]) == set(MEASURES)
    assert (tmp_path / "transferability.png").read_bytes()[:4] == b"\x89PNG"


def test_what_scores_were_worth_is_told_without_limits_where_there_are_none(tmp_path: Path) -> None:
    correlations(made_cells(3, MIN_MODELS - 1)).assign(simulated=True, setting="s").to_csv(tmp_path / CORRELATIONS)
    told = _worth(tmp_path)
    assert "melep +1.00 (no interval)" in told
    assert "nan" not in told


def test_cells_whose_upstream_is_gone_are_left_out_and_named(output: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(output, runs)
    shutil.rmtree(next((runs / "simulated").glob("pretrain-georgia-*")))
    later = next((runs / "simulated").glob("scratch-*"))
    shutil.copytree(later, later.with_name("scratch-of-a-later-version"))
    with (later.with_name("scratch-of-a-later-version") / "config.yaml").open("a") as stream:
        stream.write("newfield: 1\n")
    said: list[str] = []
    with pytest.warns(RunLeftOutWarning, match="scratch-of-a-later-version"):
        table = evidence_table(et.find_runs(runs), output=runs, trust=True, report=said.append)
    assert set(table["upstream"]) == {"cpsc2018"}
    assert len(table) == len(SIZES)
    gone = [sentence for sentence in said if sentence.startswith("left out, its upstream is gone: georgia to ptb")]
    assert len(gone) == len(SIZES)


def test_runs_on_other_records_are_no_evidence(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ECGDataModule, "digest", lambda self: "of other records")
    with pytest.raises(DataChangedError, match="other data"):
        evidence_table(et.find_runs(output), output=output, trust=True)


def test_without_pairs_it_says_so(tmp_path: Path) -> None:
    assert "nothing to correlate" in write_evidence([], tmp_path, output=tmp_path)[0]
