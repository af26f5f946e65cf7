"""The losses against calculations by hand and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ecg_transfer.models.patch_transformer import PatchTransformer
from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.pretext.contrastive import Contrastive, nt_xent
from ecg_transfer.pretext.masked import MaskedPatches, masked_error


def by_hand(first: np.ndarray, second: np.ndarray, temperature: float, groups: list[int] | None = None) -> float:
    """SimCLR's formula, one view and one other at a time."""
    views = [view / np.linalg.norm(view) for view in (*first, *second)]
    size = len(first)
    patient = (groups or list(range(size))) * 2
    losses = []
    for i, view in enumerate(views):
        positive = (i + size) % (2 * size)
        compared = [k for k in range(2 * size) if k == positive or patient[k] != patient[i]]
        total = sum(math.exp(float(view @ views[k]) / temperature) for k in compared)
        losses.append(-math.log(math.exp(float(view @ views[positive]) / temperature) / total))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("groups", [None, [4, 9, 4, 2, 9]])
def test_nt_xent_is_the_formula(groups: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 3))
    given = None if groups is None else torch.tensor(groups)
    found = nt_xent(torch.from_numpy(first), torch.from_numpy(second), 0.3, given)
    assert float(found) == pytest.approx(by_hand(first, second, 0.3, groups), rel=1e-12)
    turned = nt_xent(torch.from_numpy(second), torch.from_numpy(first), 0.3, given)
    assert float(turned) == pytest.approx(float(found), rel=1e-12), "it is symmetrical"


def test_nt_xent_of_two_orthogonal_pairs() -> None:
    """Positives at cosine 1, both negatives at 0: log((e^(1/t) + 2) / e^(1/t))."""
    views = torch.eye(2)
    assert float(nt_xent(views, 3 * views, 0.5)) == pytest.approx(math.log((math.exp(2) + 2) / math.exp(2)), rel=1e-6)


def test_retrieval_counts_the_views_whose_positive_is_the_likest() -> None:
    class Given(torch.nn.Module):
        num_features = 2

    head = Contrastive(Given(), PretextConfig(task="contrastive"))  # type: ignore[arg-type]
    head.projector = torch.nn.Sequential()
    angles = torch.tensor([0.0, 90.0, 180.0, 10.0, 95.0, 80.0]).deg2rad()
    views = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = head(torch.nn.Identity(), views, torch.arange(3), None)
    # 0: 10 deg is its own. 90: 95 is. 180: 95 is nearer than 80. 10: 0 is. 95: 90 is. 80: 90 is nearer than 180.
    assert float(found["retrieval"]) == pytest.approx(4 / 6)
    assert float(found["loss"]) == pytest.approx(by_hand(views[:3].numpy(), views[3:].numpy(), 0.1), rel=1e-5)


def test_the_masked_error_is_that_of_patches_normalised_one_by_one() -> None:
    rng = np.random.default_rng(1)
    filled, wanted = rng.normal(size=(2, 3, 4, 7))
    errors = []
    for one, target in zip(filled.reshape(-1, 7), wanted.reshape(-1, 7), strict=True):
        normal = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
        errors.append(((one - normal) ** 2).mean())
    found = masked_error(torch.from_numpy(filled), torch.from_numpy(wanted))
    assert float(found) == pytest.approx(np.mean(errors), rel=1e-12)


@pytest.fixture
def masked() -> tuple[PatchTransformer, MaskedPatches]:
    torch.manual_seed(0)
    backbone = PatchTransformer(12, 1, 3, dropout=0.0)
    return backbone, MaskedPatches(backbone, PretextConfig(task="masked", mask_share=0.6))


def loss_of(model: tuple[PatchTransformer, MaskedPatches], signal: torch.Tensor) -> float:
    backbone, head = model
    groups = torch.arange(len(signal))
    return float(head(backbone, signal, groups, torch.Generator().manual_seed(7))["loss"].detach())


def test_only_masked_patches_count_and_only_the_others_are_seen(
    masked: tuple[PatchTransformer, MaskedPatches],
) -> None:
    backbone, head = masked
    signal = torch.randn(2, 12, 250)
    order, num_seen = head.draw(2, 10, torch.Generator().manual_seed(7))
    assert num_seen == 4, "of ten patches six are left out"
    seen: list[torch.Tensor] = []
    handle = backbone.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    filled: list[torch.Tensor] = []
    other = head.fill.register_forward_hook(lambda _, inputs, output: filled.append(output.detach()))
    loss = loss_of(masked, signal)
    handle.remove()
    other.remove()
    cut = signal.transpose(1, 2).reshape(2, 10, 25 * 12)
    errors = []
    for record in range(2):
        places = order[record].tolist()
        tokens = backbone.tokens(signal[record : record + 1])[0]
        torch.testing.assert_close(seen[0][record], tokens[places[:4]])
        for place in places[4:]:
            target = cut[record, place].numpy()
            normal = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
            errors.append(float(((filled[0][record, places.index(place)].numpy() - normal) ** 2).mean()))
    assert loss == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_perfect_guess_of_the_seen_patches_gains_nothing(masked: tuple[PatchTransformer, MaskedPatches]) -> None:
    """What the decoder says at the places of seen patches has no gradient."""
    backbone, head = masked
    _, num_seen = head.draw(1, 10, torch.Generator().manual_seed(7))
    outputs: list[torch.Tensor] = []

    def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    head.fill.register_forward_hook(note)
    values = head(backbone, torch.randn(1, 12, 250), torch.arange(1), torch.Generator().manual_seed(7))
    values["loss"].backward()
    gradient = outputs[0].grad
    assert gradient is not None
    assert (gradient[0, :num_seen] == 0).all()
    assert (gradient[0, num_seen:] != 0).all()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in head.parameters())
    assert all(value.grad is not None for value in backbone.parameters())


@pytest.mark.parametrize(("share", "num_patches", "num_masked"), [(0.75, 40, 30), (0.01, 10, 1), (0.99, 10, 9)])
def test_at_least_one_patch_is_masked_and_one_is_seen(share: float, num_patches: int, num_masked: int) -> None:
    head = MaskedPatches(PatchTransformer(12, 1, 3), PretextConfig(task="masked", mask_share=share))
    order, num_seen = head.draw(3, num_patches, None)
    assert num_patches - num_seen == num_masked
    assert all(sorted(row) == list(range(num_patches)) for row in order.tolist())
