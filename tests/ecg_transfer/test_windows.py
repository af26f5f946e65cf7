"""Training on pieces and evaluating in windows, from the sums by hand to runs and what is exported of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy.special import expit, logit

import ecg_transfer as et
from data_modules.config import CropConfig, DataConfig
from data_modules.datamodule import ECGDataModule
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config_reading import make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.runs import Run
from ecg_transfer.windows import Windows
from tests.ecg_transfer.tiny_backbone import NAME

LABELS = ("NORM", "AF", "MI")


def signals(num_records: int = 4, num_samples: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_records, num_samples, 12, generator=generator).transpose(1, 2)


@pytest.mark.parametrize(
    ("length", "stride", "starts"),
    [(10, 5, [0, 5, 10, 15, 20]), (12, 5, [0, 5, 10, 15, 18]), (30, 30, [0]), (29, 30, [0, 1]), (7, 23, [0, 23])],
)
def test_windows_cover_the_record_to_its_end(length: int, stride: int, starts: list[int]) -> None:
    assert Windows(length=length, stride=stride).starts(30) == starts


def test_the_benchmarks_windows_are_half_a_window_apart() -> None:
    windows = Windows.of(CropConfig(seconds=2.5), DataConfig())
    assert windows == Windows(length=250, stride=125, aggregate="max")
    assert windows.starts(1000) == [0, 125, 250, 375, 500, 625, 750]
    assert Windows.of(CropConfig(), DataConfig()) is None
    assert Windows.of(CropConfig(seconds=2, stride_seconds=0.5, windows="mean"), DataConfig()) == Windows(
        length=200, stride=50, aggregate="mean"
    )


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_logits_are_those_of_the_aggregated_probabilities(aggregate: Any) -> None:  # noqa: ANN401 - of a Literal
    torch.manual_seed(0)
    windows = Windows(length=16, stride=7, aggregate=aggregate)
    classifier = ECGClassifier(NAME, LABELS, num_samples=50, windows=windows).double().eval()
    signal = signals().double()
    with torch.no_grad():
        parts = [signal[:, :, start : start + 16] for start in (0, 7, 14, 21, 28, 34)]
        probabilities = np.stack([expit(classifier(part).numpy()) for part in parts])
        expected = logit(probabilities.max(axis=0) if aggregate == "max" else probabilities.mean(axis=0))
        np.testing.assert_allclose(classifier(signal).numpy(), expected, rtol=0, atol=1e-12)


def test_the_mean_of_sure_windows_does_not_overflow() -> None:
    windows = Windows(length=1, stride=1, aggregate="mean")
    joined = windows.join(torch.tensor([[80.0], [80.0], [80.0], [-90.0], [-90.0], [-90.0]]), 3)
    torch.testing.assert_close(joined, torch.tensor([[80.0], [-90.0]]))


def test_a_network_of_fixed_length_is_built_for_the_window() -> None:
    classifier = ECGClassifier("gru", LABELS, num_samples=50, windows={"length": 20, "stride": 10})
    assert classifier.backbone.num_features == 2000
    assert classifier(signals()).shape == (4, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def settings(data: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(data), "data.num_simulated": 60, "optim.max_epochs": 3, "optim.batch_size": 16}
    small |= {"optim.min_updates": 0, "optim.lr": 0.003, "trainer.accelerator": "cpu", "trainer.checkpoint_seconds": 0}
    small |= {"augment.noise": 0.1, "augment.scaling": 0.2, "augment.lead_masking": 0.1, "optim.mixup": 0.3}
    small |= {"optim.balance": 0.5}
    return small | {"crops.seconds": 2.5, "data.scale": "minmax", "model.dropout": 0.2, "optim.ema": 0.9} | more


def run(data: Path, output: Path, **more: object) -> Run:
    overrides = settings(data, **more)
    return et.pretrain("cpsc2018", backbone=NAME, recipe="modern", overrides=overrides, output=output)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(data, tmp_path_factory.mktemp("runs"))


class Lengths(pl.Callback):
    """Notes the signals that the network is trained and evaluated on."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, torch.Tensor]] = []
        self.evaluated: set[int] = set()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        self.trained.append((trainer.current_epoch, batch))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:  # noqa: ANN401
        self.evaluated.add(batch["signal"].shape[2])


def test_a_run_trains_on_pieces_scaled_as_whole_records(data: Path, tmp_path: Path) -> None:
    config = make_config("scratch", "cpsc2018", backbone=NAME, overrides=settings(data))
    module = ECGDataModule(config.data, crops=config.crops, batch_size=16, seed=4)
    module.setup()
    lengths = Lengths()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path, callbacks=[lengths], use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(ECGClassifier(NAME, module.label_names, windows=Windows.of(config.crops, config.data)), module)
    assert lengths.evaluated == {1000}
    millivolts = module.cache.signals
    for epoch, batch in lengths.trained:
        starts = np.random.default_rng((4, epoch, 1)).integers(0, 751, len(module.record_ids))
        for number, row in enumerate(batch["index"].tolist()):
            record = millivolts[row].astype(np.float64)
            low, high = record.min(axis=0), record.max(axis=0)
            expected = ((record - low) / (high - low) * 2 - 1)[starts[row] : starts[row] + 250].T
            np.testing.assert_allclose(batch["signal"][number].numpy(), expected, atol=1e-5)


def test_interrupted_it_resumes_to_the_bit(
    data: Path, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecg_transfer import trainer as run_trainer

    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    callbacks = run_trainer.callbacks_of
    with monkeypatch.context() as patch:
        patch.setattr(run_trainer, "callbacks_of", lambda *arguments: [*callbacks(*arguments), Stop()])
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path)
    resumed = run(data, tmp_path)
    assert len(resumed.manifest["attempts"]) == 2
    for name in ("last_epoch/test", "val_selected/val"):
        assert np.array_equal(resumed.predictions[name].logits, finished.predictions[name].logits)
    ours, theirs = (read_curve(one.path / "metrics.jsonl") for one in (resumed, finished))
    assert [record["train"] for record in ours] == [record["train"] for record in theirs]


def test_a_finished_run_has_one_row_a_record_and_scores_come_back(finished: Run) -> None:
    stored = finished.predictions["val_selected/test"]
    assert len(stored) == len(set(stored.record_ids)) == finished.manifest["data"]["parts"]["test"]["records"]
    assert et.evaluate(finished, device="cpu").as_dict() == finished.scores["val_selected"].as_dict()
    assert finished.model().windows == Windows(length=250, stride=125)
    assert finished.model().dropout.p == 0.2


def test_the_export_evaluates_in_windows_too(finished: Run, tmp_path: Path) -> None:
    folder = et.export_run(finished, tmp_path / "model")
    card = (folder / "README.md").read_text()
    assert "| windows | of 2.5 s, 1.25 s apart; the largest of their probabilities is the recording's |" in card
    recordings = 0.3 * signals(3, 1000).numpy()
    ours, theirs = (et.load_model(source, **trust) for source, trust in ((finished, {}), (folder, {"trust": True})))
    probabilities = ours.probabilities(recordings, 100)
    assert np.array_equal(theirs.probabilities(recordings, 100), probabilities)
    low, high = (edge(recordings, axis=2, keepdims=True) for edge in (np.min, np.max))
    scaled = torch.from_numpy((2 * (recordings - low) / (high - low) - 1).astype(np.float32))
    with torch.no_grad():
        parts = [finished.model()(scaled[:, :, start : start + 250]) for start in range(0, 751, 125)]
    np.testing.assert_allclose(probabilities, expit(torch.stack(parts).amax(dim=0).numpy()), atol=1e-6)


def test_the_epoch_can_be_chosen_by_auroc(data: Path, tmp_path: Path) -> None:
    chosen = run(data, tmp_path, **{"monitor": "auroc_macro"})
    val = [record["val"]["auroc_macro"] for record in read_curve(chosen.path / "metrics.jsonl")]
    assert chosen.results["val_selected"]["epoch"] == int(np.argmax(val))


def test_an_auroc_that_does_not_exist_is_refused_before_anything_is_trained(
    data: Path,
) -> None:
    config = make_config("scratch", "cpsc2018", backbone=NAME, overrides=settings(data, monitor="auroc_macro"))
    module = ECGDataModule(config.data)
    module.setup()
    module.rows["val"] = module.rows["val"][:1]
    from ecg_transfer.fitting import require_monitored

    with pytest.raises(ValueError, match="no label has positives and negatives among the 1 val records"):
        require_monitored(config, module)


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_its_backbone_goes_on_to_other_lengths(data: Path, finished: Run, seconds: float | None) -> None:
    overrides = settings(data, **{"crops.seconds": seconds, "optim.max_epochs": 1})
    downstream = et.finetune(
        "ptb", upstream="cpsc2018", backbone=NAME, recipe="modern", overrides=overrides, output=finished.path.parents[1]
    )
    assert downstream.manifest["upstream"]["run"] == finished.name
    windows = downstream.model().windows
    assert (None if windows is None else windows.length) == (None if seconds is None else 500)
