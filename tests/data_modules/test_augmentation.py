from __future__ import annotations

import numpy as np
import pytest
import torch

from data_modules.augmentation import Augmentation
from data_modules.config import AugmentConfig


def of(seed: int = 0, num_records: int = 5000, **strengths: float) -> Augmentation:
    return Augmentation(AugmentConfig(**strengths), num_records, 12, seed=seed)


def test_a_batch_is_multiplied_by_the_gains_of_its_records() -> None:
    augmentation = of(scaling=0.5, lead_masking=0.3)
    signal, rows = torch.randn(4, 30, 12).transpose(1, 2), torch.tensor([17, 3, 3, 4999])
    changed = augmentation.apply(signal, rows, 2)
    expected = signal.numpy() * augmentation.gains(2)[rows.numpy()][:, :, None]
    assert np.array_equal(changed.numpy(), expected)
    assert changed.transpose(1, 2).is_contiguous()


def test_gains_follow_from_seed_epoch_and_record() -> None:
    first, third = (of(scaling=0.5).gains(epoch) for epoch in (0, 3))
    again = of(scaling=0.5)
    again.gains(7)
    assert np.array_equal(again.gains(3), third)
    assert not np.array_equal(first, third)
    assert not np.array_equal(of(seed=1, scaling=0.5).gains(3), third)


def test_gains_are_as_strong_as_was_asked_for() -> None:
    gains = of(scaling=0.25, lead_masking=0.2).gains(0)
    missing = gains == 0
    assert abs(missing.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / missing.size)
    present = np.where(missing, np.nan, gains)
    assert np.nanmin(present) >= 1 / 1.25 - 1e-6
    assert np.nanmax(present) <= 1.25 + 1e-6
    spread = np.nanmax(present, axis=1) - np.nanmin(present, axis=1)  # all leads of a record alike
    assert spread.max() == 0
    assert abs(np.log(np.nanmean(present, axis=1)).mean()) < 0.01  # as often up as down


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    changed = of(noise=0.3).apply(torch.zeros(50, 12, 200), torch.arange(50), 0)
    assert changed.std().item() == pytest.approx(0.3, rel=0.02)


def test_nothing_is_done_by_default() -> None:
    assert not AugmentConfig().is_active


@pytest.mark.parametrize("strengths", [{"scaling": -0.1}, {"noise": -1.0}, {"lead_masking": 1.0}])
def test_strengths_that_cannot_be_are_refused(strengths: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(strengths))):
        _ = AugmentConfig(**strengths).is_active
