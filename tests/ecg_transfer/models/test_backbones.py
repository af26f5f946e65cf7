"""The contract, checked on every entry of BACKBONES: a new one is tested without editing this file."""

from __future__ import annotations

import doctest
import sys
import types

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

import ecg_transfer.models
from ecg_transfer.models import BACKBONES, Backbone, create_backbone
from ecg_transfer.models.normalization import BatchNorm1d
from ecg_transfer.precision import cpu_has_bfloat16

NUM_SAMPLES = 64


@pytest.fixture(params=sorted(BACKBONES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(name: str, num_leads: int = 12) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name, num_leads=num_leads, num_samples=NUM_SAMPLES)


def signals(num_records: int = 3, num_leads: int = 12) -> Tensor:
    """The transposed view of a contiguous (B, T, leads) array, as batches arrive."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_records, NUM_SAMPLES, num_leads, generator=generator).transpose(1, 2)


@pytest.mark.parametrize("num_leads", [1, 2, 12])
def test_shapes(name: str, num_leads: int) -> None:
    backbone = build(name, num_leads).eval()
    signal = signals(3, num_leads)
    features = backbone.forward_features(signal)
    embedding = backbone(signal)
    assert backbone.num_leads == num_leads
    assert features.dim() == 3
    assert features.shape[0] == 3
    assert embedding.shape == (3, backbone.num_features)
    torch.testing.assert_close(backbone.pool(features), embedding, rtol=0, atol=0)


def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    backbone = build(name).train()
    embedding = backbone(signals(4))
    weights = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(2))
    (embedding * weights).sum().backward()
    assert torch.isfinite(embedding).all()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_evaluation_is_deterministic_and_leaves_the_state_alone(name: str) -> None:
    backbone = build(name).eval()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert torch.equal(backbone(signals()), backbone(signals()))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_evaluation_does_not_change_its_input(name: str) -> None:
    signal = signals()
    before = signal.clone()
    build(name).eval()(signal)
    assert torch.equal(signal, before)


def test_state_dict_round_trip(name: str) -> None:
    backbone = build(name).eval()
    torch.manual_seed(99)
    other = create_backbone(name, num_samples=NUM_SAMPLES).eval()
    assert not torch.equal(other(signals()), backbone(signals()))
    other.load_state_dict(backbone.state_dict(), strict=True)
    assert torch.equal(other(signals()), backbone(signals()))


def test_state_dict_tensors_are_contiguous(name: str) -> None:
    assert all(value.is_contiguous() for value in build(name).state_dict().values())  # safetensors refuses others


def test_records_of_a_batch_do_not_influence_each_other(name: str) -> None:
    backbone = build(name).double().eval()
    batch = signals(4).double()
    together = backbone(batch)
    alone = torch.cat([backbone(batch[row : row + 1]) for row in range(4)])
    tolerance = 1e-12 * max(1.0, float(together.detach().abs().max()))
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    torch.testing.assert_close(backbone(batch.flip(0)), together.flip(0), rtol=0, atol=tolerance)


def test_a_record_alone_of_which_one_time_step_is_left_can_be_trained_on(name: str) -> None:
    """As in the last batch of an epoch, with pieces of 0.3 s."""
    backbone = create_backbone(name, num_samples=30).train()
    backbone(signals(1)[:, :, :30]).square().sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("shape", [(1, 4, 1), (1, 4, 1, 1)])
def test_one_value_a_channel_is_normalised_by_the_running_statistics(shape: tuple[int, ...]) -> None:
    norm = BatchNorm1d(4).train()
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.uniform_(value)  # type: ignore[arg-type]
    x, mean, variance = torch.randn(shape), norm.running_mean.clone(), norm.running_var.clone()  # type: ignore[union-attr]
    expected = norm.weight * (x.flatten() - mean) / (variance + norm.eps).sqrt() + norm.bias
    torch.testing.assert_close(norm(x).flatten(), expected)
    assert torch.equal(norm.running_mean, mean)  # type: ignore[arg-type]
    two = torch.cat([x, 2 * x])
    torch.testing.assert_close(norm(two), batch_norm(two, None, None, norm.weight, norm.bias, training=True))


def test_strides_of_the_input_do_not_matter(name: str) -> None:
    backbone = build(name).double().eval()
    view = signals().double()
    assert not view.is_contiguous()
    torch.testing.assert_close(backbone(view.contiguous()), backbone(view), rtol=1e-12, atol=1e-12)


def test_stages_hold_every_parameter_once(name: str) -> None:
    backbone = build(name)
    staged = [id(p) for stage in backbone.stages() for module in stage for p in module.parameters()]
    assert sorted(staged) == sorted(id(p) for p in backbone.parameters())
    assert all(any(True for module in stage for _ in module.parameters()) for stage in backbone.stages())


def test_stages_are_in_the_order_of_the_computation(name: str) -> None:
    backbone = build(name).eval()
    listed = [module for stage in backbone.stages() for module in stage]
    called: list[nn.Module] = []
    for module in listed:
        module.register_forward_hook(lambda module, arguments, output: called.append(module))
    backbone(signals())
    assert called == listed


def test_autocast_bfloat16_stays_close(name: str) -> None:
    if "lstm" in name and not cpu_has_bfloat16():
        pytest.skip("PyTorch has no LSTM in bfloat16 for this CPU; trainings in it are refused")
    backbone = build(name).eval()
    with torch.no_grad():
        exact = backbone(signals())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = backbone(signals()).float()
    assert torch.linalg.norm(rounded - exact) < 0.05 * torch.linalg.norm(exact)


def test_wrong_number_of_leads(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(2, 64, 12\).*12 leads"):
        build(name)(signals(2).transpose(1, 2))


@pytest.mark.parametrize(
    "name",
    ["resnet1d18", "lstm_mean", "gru_last", "xresnet1d18", "inception1d", "resnet1d_wang", "lstm_benchmark",
     "s4d_small", "patch_transformer"],
)  # fmt: skip
def test_any_length_where_num_samples_is_none(name: str) -> None:
    backbone = create_backbone(name, num_samples=1000).eval()
    assert backbone.num_samples is None
    assert backbone(signals()).shape == (3, backbone.num_features)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(ecg_transfer.models)
    assert result.attempted > 0
    assert result.failed == 0


def test_unknown_name_suggests() -> None:
    with pytest.raises(ValueError, match="'resnet18'; did you mean resnet1d18"):
        create_backbone("resnet18")


class OwnNetwork(nn.Module):
    """What a user may bring: no subclass of Backbone."""

    def __init__(self, num_leads: int) -> None:
        super().__init__()
        self.num_features = 7
        self.linear = nn.Linear(num_leads, 7)

    def forward(self, signal: Tensor) -> Tensor:
        embedding: Tensor = self.linear(signal.mean(dim=2))
        return embedding


def without_num_features(**_: int) -> nn.Module:
    return nn.Linear(12, 7)


def of_another_width(num_leads: int) -> nn.Module:
    network = OwnNetwork(num_leads)
    network.num_features = 8
    return network


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("a_users_networks")
    for thing in (OwnNetwork, without_num_features, of_another_width):
        setattr(module, thing.__name__, thing)
    module.gru = BACKBONES["gru"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_imported_module(own: str) -> None:
    backbone = create_backbone(f"{own}:OwnNetwork", num_leads=3)
    signal = signals(2, 3)
    assert isinstance(backbone, Backbone)
    assert (backbone.num_leads, backbone.num_features, backbone.num_samples) == (3, 7, None)
    linear = backbone.stages()[0][0].linear
    assert isinstance(linear, nn.Linear)
    torch.testing.assert_close(backbone(signal), signal.mean(2) @ linear.weight.T + linear.bias)


def test_imported_backbone_is_returned_unwrapped(own: str) -> None:
    backbone = create_backbone(f"{own}:gru", num_samples=NUM_SAMPLES)
    assert type(backbone) is type(build("gru"))
    assert backbone.num_samples == NUM_SAMPLES


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{}:without_num_features", "num_features=None"),
        ("{}:missing", "no callable 'missing'"),
        ("{}:", "incomplete"),
        ("no_such_package.networks:factory", "no module named 'no_such_package'"),
    ],
)
def test_imports_that_fail_say_why(own: str, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone(path.format(own))


def test_imported_module_of_another_width_than_it_says(own: str) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 8\)"):
        create_backbone(f"{own}:of_another_width")(signals())
