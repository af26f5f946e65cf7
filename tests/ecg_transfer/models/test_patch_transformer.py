from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ecg_transfer.models.patch_transformer import Block, PatchEmbedding, PatchTransformer, patch_transformer, positions


def network() -> PatchTransformer:
    torch.manual_seed(0)
    return PatchTransformer(16, 2, 4).double().eval()


def signals(num_samples: int = 250) -> torch.Tensor:
    return torch.randn(3, num_samples, 12, generator=torch.Generator().manual_seed(1)).double().transpose(1, 2)


@pytest.mark.parametrize(("num_samples", "num_patches"), [(250, 10), (251, 11), (274, 11), (25, 1), (7, 1)])
def test_patches_are_quarters_of_a_second(num_samples: int, num_patches: int) -> None:
    signal = signals(num_samples)
    patches = PatchEmbedding(12, 16).cut(signal)
    assert patches.shape == (3, num_patches, 300)
    flat = patches.reshape(3, -1, 12)
    assert torch.equal(flat[:, :num_samples], signal.transpose(1, 2))
    assert (flat[:, num_samples:] == 0).all()


def test_positions_are_sines_and_cosines() -> None:
    found = positions(9, 8)
    for token in range(9):
        for index in range(4):
            angle = token / 10_000 ** (index / 4)
            assert found[token, index].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[token, 4 + index].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_block_is_torchs_own() -> None:
    """The weights of a block in PyTorch's encoder layer give the same."""
    block = Block(16, 4, 0.0).double().eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).double().eval()
    pairs = {
        "self_attn.in_proj_": block.queries_keys_values,
        "self_attn.out_proj.": block.join,
        **{f"{name}.": getattr(block, name) for name in ("linear1", "linear2", "norm1", "norm2")},
    }
    state = {
        prefix + kind: getattr(module, kind).data for prefix, module in pairs.items() for kind in ("weight", "bias")
    }
    theirs.load_state_dict(state, strict=True)
    tokens = torch.randn(2, 7, 16, dtype=torch.float64)
    torch.testing.assert_close(block(tokens), theirs(tokens), rtol=0, atol=1e-12)


def test_some_of_the_tokens_can_be_encoded_alone() -> None:
    """What a masked pre-training needs: tokens know their place by themselves, and their order does not matter."""
    model, signal = network(), signals()
    tokens, kept = model.tokens(signal), torch.tensor([7, 2, 9, 0])
    assert torch.equal(model.forward_features(signal), model.encode(tokens).transpose(1, 2))
    torch.testing.assert_close(
        model.encode(tokens[:, kept]), model.encode(tokens[:, kept.sort().values])[:, [2, 1, 3, 0]]
    )
    changed = signal.clone()
    changed[:, :, 100:125] += 5  # the patch 4, which is not kept
    assert torch.equal(model.encode(model.tokens(changed)[:, kept]), model.encode(tokens[:, kept]))


def test_its_size() -> None:
    """Patches; a block's attention, two linear layers of four times the width, two norms; the last norm."""
    width = 192
    block = 4 * (width + 1) * width + (width + 1) * 4 * width + (4 * width + 1) * width + 4 * width
    number = (12 * 25 + 1) * width + 6 * block + 2 * width
    assert sum(value.numel() for value in patch_transformer().parameters()) == number == 2_727_360
