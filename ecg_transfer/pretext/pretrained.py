"""The backbone of a finished pre-training without labels."""

from __future__ import annotations

from data_modules.corpus import LEAD_NAMES
from ecg_transfer.models import Backbone, create_backbone
from ecg_transfer.runs import Run
from ecg_transfer.weights import WeightsMismatchError, read_checkpoint, require_known


def pretrained_backbone(run: Run, *, trust: bool = False) -> Backbone:
    """Its best backbone for whole records, in evaluation mode on the CPU.

    Args:
        run: Finished.
        trust: See `Run.model`.

    Raises:
        ValueError: Its checkpoint is damaged.
        UntrustedCodeError: Its backbone is code that is not trusted.
        WeightsMismatchError: Its weights are not those of the backbone it names.
    """
    config, path = run.config, run.checked("best.ckpt")
    require_known(config.model.backbone, path, trust=trust or run.backbone or False)
    state = read_checkpoint(path).state
    prefix = "backbone."
    theirs = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    backbone = create_backbone(config.model.backbone, num_leads=len(LEAD_NAMES), num_samples=config.data.num_samples)
    try:
        dtype = next(value.dtype for value in theirs.values() if value.is_floating_point())
        backbone.to(dtype).load_state_dict(theirs)
    except (RuntimeError, StopIteration) as error:
        raise WeightsMismatchError(f"the weights in {path} cannot be used: {' '.join(str(error).split())}") from error
    return backbone.eval()
