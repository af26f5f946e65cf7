"""A user's own network as a backbone, named in a configuration as `package.module:factory`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable

from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone


class ImportedBackbone(Backbone):
    """A plain module that maps `(B, num_leads, T)` to `(B, num_features)`, seen through the contract.

    Its feature map is its output with one time step, its only stage the module itself.
    """

    def __init__(self, module: nn.Module, *, num_leads: int, num_features: int, num_samples: int | None) -> None:
        super().__init__(num_leads=num_leads, num_features=num_features, num_samples=num_samples)
        self.module = module

    def forward_features(self, signal: Tensor) -> Tensor:
        """Run the module: `(B, num_leads, T)` to `(B, num_features, 1)`."""
        embedding = self.module(signal)
        if not isinstance(embedding, Tensor) or embedding.shape != (signal.shape[0], self.num_features):
            raise ValueError(
                f"{type(self.module).__name__} returned {getattr(embedding, 'shape', embedding)}, expected "
                f"(batch, {self.num_features}) as its num_features says; correct the one or the other."
            )
        return embedding.unsqueeze(2)

    def pool(self, features: Tensor) -> Tensor:
        """Drop the single time step."""
        return features.squeeze(2)

    def stages(self) -> list[list[nn.Module]]:
        """List the module as a whole."""
        return [[self.module]]


def import_backbone(path: str, *, num_leads: int, num_samples: int) -> Backbone:
    """Import `package.module`, call its `factory`, and check what it returns.

    The module is found as by any import statement, so it must be installed or in a folder on `PYTHONPATH`. Importing
    runs its code: name only modules you trust.

    Args:
        path: `package.module:factory`; the factory is a function or class that returns an `nn.Module` with an integer
            attribute `num_features`. A `Backbone` is returned as it is, any other module inside an `ImportedBackbone`.
        num_leads: Passed to the factory if it takes an argument of that name.
        num_samples: Likewise.

    Raises:
        ValueError: The module or factory does not exist, or what it returned is no backbone.
    """
    module_name, _, factory_name = path.partition(":")
    if not module_name or not factory_name:
        raise ValueError(f"backbone {path!r} is incomplete; name it package.module:factory.")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name, None)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"backbone {path!r}: no module named {error.name!r}; install it or put its folder on PYTHONPATH."
        ) from error
    if not callable(factory):
        raise ValueError(f"backbone {path!r}: {module_name!r} has no callable {factory_name!r}; check the spelling.")
    module = factory(**_accepted(factory, num_leads=num_leads, num_samples=num_samples))
    if isinstance(module, Backbone):
        return module
    num_features = num_features_of(module, f"backbone {path!r} returned a {type(module).__name__}")
    fixed = getattr(module, "num_samples", None)
    return ImportedBackbone(
        module, num_leads=num_leads, num_features=num_features, num_samples=fixed if isinstance(fixed, int) else None
    )


def num_features_of(module: object, found: str) -> int:
    """The width of a module's output, as its `num_features` says.

    Args:
        module: What is to be a backbone.
        found: The beginning of the message.

    Raises:
        ValueError: It is no module, or does not say it.
    """
    num_features = getattr(module, "num_features", None)
    if not isinstance(module, nn.Module) or not isinstance(num_features, int):
        raise ValueError(
            f"{found} with num_features={num_features!r}, expected an nn.Module with an integer num_features; set "
            "`self.num_features` to the width of its output."
        )
    return num_features


def _accepted(factory: Callable[..., object], **arguments: int) -> dict[str, int]:
    """Keep the arguments that a factory takes by keyword."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    names = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {name: value for name, value in arguments.items() if name in names}
