"""The configuration of a run: plain dataclasses, and a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from data_modules.config import AugmentConfig, CropConfig, DataConfig
from ecg_transfer.pretext.config import PretextConfig

Phase = Literal["pretrain", "finetune", "scratch"]
Way = Literal["full", "linear_probe", "lp_ft", "layerwise", "gradual", "l2_sp"]

Monitor = Literal["f1_weighted", "f1_macro", "auroc_macro"]


class ConfigError(ValueError):
    """A configuration that cannot be read: an unknown field, a value that is not one of its values."""


@dataclass(kw_only=True)
class ModelConfig:
    """The `model` section."""

    backbone: str = "resnet1d18"
    """A key of `ecg_transfer.models.BACKBONES`, or `package.module:factory` for one of your own."""
    dropout: float = 0.0
    """Share of the embedding's features that are zeroed in training, before the head."""


@dataclass(kw_only=True)
class OptimConfig:
    """The `optim` section: how a model is trained."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam adds weight decay to the gradient, AdamW decouples it."""
    lr: float = 0.01
    """Learning rate; the highest one of a schedule."""
    weight_decay: float = 0.0
    """L2 penalty (Adam) or decay (AdamW)."""
    schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
    """`one_cycle`: up for 30 % of the updates, then down (Smith 2018); `cosine`: down to zero, after `warmup`."""
    warmup: float = 0.0
    """Share of the updates over which `cosine` rises linearly from zero."""
    batch_size: int = 256
    """Records of one update, over all devices together."""
    max_epochs: int = 100
    """Epochs of the training; see `max_updates` and `min_updates`."""
    max_updates: int | None = None
    """A budget in updates in place of `max_epochs`: the epochs that hold it, rounded up."""
    min_updates: int = 0
    """Small corpora train for more epochs than `max_epochs`, until so many updates are done."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; None does not clip."""
    label_smoothing: float = 0.0
    """The loss's targets are moved by half of this from 0 and 1 towards each other."""
    mixup: float = 0.0
    """Each training batch is mixed with itself in another order, signals and targets alike, by a share drawn from
    Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412); 0 does not mix."""
    balance: float = 0.0
    """Power of a label's negatives a positive, counted in the training records, by which its positives weigh more in
    the loss: 0 all alike, 0.5 the square root, 1 as much as all its negatives. Rare labels are ranked better by it, and
    probabilities keep their meaning (see `ecg_transfer.loss.logits_and_loss`)."""
    ema: float | None = None
    """Decay of a running mean of the weights, 0.999 say, which is evaluated, kept and exported in place of the weights
    themselves; None keeps no mean."""
    early_stop_patience: int | None = None
    """Stop after so many evaluations without a better validation score; None never stops early. Of a way of two phases
    (`lp_ft`, `gradual`) the evaluations count in which all weights are trained."""

    evaluate_every: int = 1
    """Epochs between two evaluations; the last one is evaluated in any case. A small subset of a large corpus is
    evaluated longer than it is trained on."""

    def num_epochs(self, updates_per_epoch: int) -> int:
        """Epochs that a corpus with so many updates an epoch is trained for."""
        if self.max_updates is not None:
            return max(1, -(-self.max_updates // updates_per_epoch))
        return max(self.max_epochs, -(-self.min_updates // updates_per_epoch))


@dataclass(kw_only=True)
class TrainerConfig:
    """The `trainer` section: on what the training runs."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """`auto` takes a GPU where there is one."""
    devices: int = 1
    """Devices of each machine; above one, distributed data-parallel."""
    num_nodes: int = 1
    """Machines."""
    precision: Literal[32, "bf16", 64] = 32
    """`32`: float32; a GPU trains its convolutions and recurrent layers in TensorFloat-32, PyTorch's default. `bf16`:
    bfloat16 autocast over float32 weights, refused on CPUs that do not compute in it. `64`: all in float64, as the
    authors' code. Evaluation is in the weights' own precision, always."""
    deterministic: bool = True
    """Only algorithms that give the same bits every time."""
    cuda_graphs: bool = True
    """On a single GPU, record the backbone's training step once and launch it as a whole: the same bits (of ResNet1d-50
    and -101 the same up to rounding), faster where a small network waits for its kernels to be launched. Costs memory:
    a step's activations are kept for each shape of a batch. Trainings without labels and backbones of your own do
    without."""
    compile: bool = False
    """Let torch.compile fuse the backbone's operators, on a GPU as CUDA graphs of its own. Takes minutes or half a
    minute for each shape of a batch, and gained nothing on a CPU."""
    checkpoint_seconds: float = 10.0
    """Least seconds between two saved states: what an interruption can cost. 0 saves every epoch."""


@dataclass(kw_only=True)
class TransferConfig:
    """The `transfer` section: where a fine-tuning starts, and the way it goes (see `ecg_transfer.ways`)."""

    upstream: str | None = None
    """A corpus name (its pre-training with this backbone is looked up), a run's name or directory, or the folder of an
    exported model."""
    allow_simulated: bool = False
    """Whether a run on real ECGs may start from weights that were pre-trained on simulated ones."""
    way: Way = "full"
    """`full`: all weights at one rate, as the paper. `linear_probe`: the head alone. `lp_ft`: first a linear probe,
    then all (Kumar et al. 2022, arXiv 2202.10054). `layerwise`: lower rates nearer the signal. `gradual`: from the last
    stage back, one after the other (Howard & Ruder 2018, arXiv 1801.06146). `l2_sp`: all, pulled back to the
    pre-trained weights (Li et al. 2018, arXiv 1802.01483)."""
    batch_norm: Literal["train", "frozen", "reestimate"] = "train"
    """Running statistics of BatchNorm: `train` follows the batches; `frozen` keeps the upstream's; `reestimate` takes
    those of the downstream's training records once, before training, and keeps them (after AdaBN, Li et al. 2016, arXiv
    1603.04779). Scale and shift are weights like others."""
    head: Literal["new", "shared"] = "new"
    """`new`: a head of random weights, as the paper. `shared`: its rows of labels that mean the same upstream are the
    upstream's (see `data_modules.label_map`), the others are new."""
    head_lr: float = 1.0
    """The head's learning rate over `optim.lr`, in every way."""
    layer_decay: float = 0.65
    """`layerwise`: each stage's rate over that of the stage behind it; the head has the full rate."""
    probe_share: float = 0.5
    """`lp_ft`: share of the epochs in which the head alone is trained."""
    unfreeze_share: float = 0.5
    """`gradual`: share of the epochs after which all stages are trained."""
    l2_sp: float = 0.01
    """`l2_sp`: alpha, the penalty alpha / 2 * |w - w0|^2 on the backbone; it replaces `optim.weight_decay`."""
    l2_sp_head: float = 0.01
    """`l2_sp`: beta, the penalty beta / 2 * |w|^2 on the head."""


@dataclass(kw_only=True)
class RunConfig:
    """Everything that decides a run. The same configuration always names the same run directory."""

    phase: Phase = "scratch"
    """`pretrain` on an upstream corpus, `finetune` from one, or train from `scratch`."""
    recipe: str = "paper"
    """Which named recipe the fields below started from."""
    seed: int = 0
    """Of the weights, the order of the batches and all else that is random, but not of the split."""
    monitor: Monitor = "f1_weighted"
    """Validation score by which the best epoch is chosen; weighted F1 is the paper's. A pre-training without labels has
    none: its epoch is chosen by its own loss."""
    data: DataConfig = field(default_factory=DataConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    pretext: PretextConfig = field(default_factory=PretextConfig)

    @property
    def is_supervised(self) -> bool:
        """Whether labels are learnt."""
        return self.pretext.task == "none"

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """By which number of the validation records the best epoch is chosen, and whether the largest is the best."""
        return (self.monitor, "max") if self.is_supervised else ("loss", "min")

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return asdict(self)

    def digest(self) -> str:
        """A digest of every field that can change a result, where it differs from its default.

        It does not depend on where files lie or what the run works on, nor on fields that a later version adds.
        """
        defaults = by_place(RunConfig())
        chosen = {
            ".".join(place): value
            for place, value in by_place(self).items()
            if place not in PLACES and value != defaults[place]
        }
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def changes(one: RunConfig, other: RunConfig) -> dict[str, object]:
    """The dotted fields in which a configuration differs from another, with its values."""
    before = by_place(one)
    return {".".join(filter(None, place)): now for place, now in by_place(other).items() if now != before[place]}


def by_place(config: RunConfig) -> dict[tuple[str, str], object]:
    """Every value by (section, field), field "" outside of sections; a whole number in a float's place is a float."""
    values: dict[tuple[str, str], object] = {}
    for outer in fields(config):
        section = getattr(config, outer.name)
        for inner in fields(section) if is_dataclass(section) else ():
            value = getattr(section, inner.name)
            is_whole_float = isinstance(value, int) and "float" in str(inner.type)
            values[outer.name, inner.name] = float(value) if is_whole_float else value
        if not is_dataclass(section):
            values[outer.name, ""] = section
    return values


PLACES = (
    ("data", "root"),
    ("data", "source"),
    ("trainer", "accelerator"),
    ("trainer", "checkpoint_seconds"),
    ("trainer", "cuda_graphs"),
    ("transfer", "allow_simulated"),
)
"""Fields that say where and on what, not what: a run keeps its name when it moves. Real and simulated runs have homes
of their own, so that `data.source` decides where a run lies, not its name."""
