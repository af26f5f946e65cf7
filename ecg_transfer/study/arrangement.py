"""Where each comparison stands in a report: settings, and within one the paper's rows, columns and order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ecg_transfer.study.conditions import conditions
from ecg_transfer.study.effects import CellEffect
from ecg_transfer.study.likeness import LEFT_OUT
from ecg_transfer.study.significance import MIN_SEEDS
from ecg_transfer.way_names import WAY_NAMES

CORPUS_NAMES = {
    "ptbxl": "PTB-XL",
    "cpsc2018": "CPSC2018",
    "georgia": "Georgia",
    "ptb": "PTB",
    "ribeiro": "Ribeiro",
}
"""How the paper writes them; other corpora keep their names."""

UPSTREAMS = ("ptbxl", "cpsc2018", "georgia")
"""Rows of the paper's figures, in its order."""

DOWNSTREAMS = ("ptb", "ribeiro", "cpsc2018", "georgia", "ptbxl")
"""Columns of the paper's figures, small sets first."""

BACKBONE_NAMES = {
    "resnet1d18": "ResNet1d-18",
    "resnet1d50": "ResNet1d-50",
    "resnet1d101": "ResNet1d-101",
    "lstm": "LSTM",
    "bilstm": "BiLSTM",
    "gru": "GRU",
    "xresnet1d18": "XResNet1d-18",
    "xresnet1d50": "XResNet1d-50",
    "xresnet1d101": "XResNet1d-101",
    "inception1d": "Inception1d",
    "resnet1d_wang": "ResNet1d-Wang",
    "s4d": "S4D",
    "patch_transformer": "patch transformer",
}
"""The paper's models, in its order, and others."""

RESNETS = ("resnet1d18", "resnet1d50", "resnet1d101")
"""Each has a figure of curves of its own."""

RNNS = ("lstm", "bilstm", "gru")
"""They share a figure of curves."""

Place = tuple[str, str, str]
"""Upstream, downstream with its label set where one was asked for, backbone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """The cells of one recipe, rate, budget and kind of upstream, on real or on simulated ECGs: one set of figures."""

    effects: tuple[CellEffect, ...]
    condition: str = ""
    """What tells it from other settings of its name: `optim.max_updates=200`; empty where nothing has to."""

    @property
    def simulated(self) -> bool:
        """Whether its ECGs are."""
        return self.effects[0].cell.simulated

    @property
    def name(self) -> str:
        """`paper, lr 0.01, batch 256`, as the verdicts name it."""
        cell = self.effects[0].cell
        way = "" if cell.way == WAY_NAMES["full"] else f", {cell.way}"
        upstream = f", {cell.upstream_kind} upstream" if cell.upstream_kind else ""
        condition = f", {self.condition}" * bool(self.condition)
        return f"{cell.recipe}, lr {cell.lr:g}, batch {cell.batch_size}{way}{upstream}{condition}"

    @property
    def is_papers(self) -> bool:
        """Whether it is what the paper's claims are about: all weights of an upstream that learnt labels, one rate."""
        cell = self.effects[0].cell
        return cell.way == WAY_NAMES["full"] and not cell.upstream_kind

    @cached_property
    def whole(self) -> tuple[CellEffect, ...]:
        """The comparisons on whole downstream corpora; all of them where there is none, so that something is shown."""
        found = tuple(effect for effect in self.effects if effect.cell.pairs["subset_finetune"].isna().all())
        return found or self.effects

    @cached_property
    def places(self) -> dict[Place, CellEffect]:
        """The comparison at each place: with the largest training set; of equals, the one with the most seeds."""
        best: dict[Place, CellEffect] = {}
        for effect in self.whole:
            place = _place(effect)
            if place not in best or _rank(effect) > _rank(best[place]):
                best[place] = effect
        return best

    @property
    def num_not_placed(self) -> int:
        """Comparisons at the same place and size as one that is shown, from another pre-training say."""
        sizes = [self.places[_place(effect)].cell.num_train == effect.cell.num_train for effect in self.whole]
        return sum(sizes) - len(self.places)

    @property
    def upstreams(self) -> list[str]:
        """Those present, in the paper's order."""
        return in_order({place[0] for place in self.places}, UPSTREAMS)

    @property
    def downstreams(self) -> list[str]:
        """Those present, in the paper's order."""
        return in_order({place[1] for place in self.places}, DOWNSTREAMS)

    @property
    def backbones(self) -> list[str]:
        """Those present, in the paper's order."""
        return in_order({place[2] for place in self.places}, tuple(BACKBONE_NAMES))

    def placed(self, backbones: Sequence[str]) -> dict[tuple[str, str], list[CellEffect]]:
        """The comparisons of some backbones, by upstream and downstream, in the order of the backbones."""
        found: dict[tuple[str, str], list[CellEffect]] = defaultdict(list)
        for backbone in backbones:
            for (upstream, downstream, name), effect in self.places.items():
                if name == backbone:
                    found[upstream, downstream].append(effect)
        return dict(found)


def settings_of(effects: Iterable[CellEffect]) -> list[Setting]:
    """The settings among cells, the headline first: real before simulated, the paper's kind, the most seeds."""
    groups: dict[tuple[bool, str, str], list[CellEffect]] = defaultdict(list)
    for effect in effects:
        groups[effect.cell.simulated, effect.cell.setting, effect.cell.upstream_kind].append(effect)
    found = _told_apart(
        [Setting(effects=tuple(members)) for _, members in sorted(groups.items(), key=lambda item: item[0])]
    )

    def rank(setting: Setting) -> tuple[bool, bool, int, bool, str]:
        weight = sum(min(effect.effect.num_seeds, MIN_SEEDS) for effect in setting.effects)
        is_paper = setting.effects[0].cell.recipe == "paper"
        return setting.simulated, not setting.is_papers, -weight, not is_paper, setting.name

    return sorted(found, key=rank)


def _told_apart(settings: Sequence[Setting]) -> list[Setting]:
    """The settings of each name, each with the fields in which not all of them are alike: a budget, dropout."""
    named: dict[tuple[bool, str], list[Setting]] = defaultdict(list)
    for setting in settings:
        named[setting.simulated, setting.name].append(setting)
    left_out = {*LEFT_OUT["cell"], *LEFT_OUT["series"], *LEFT_OUT["setting"]}
    return [
        replace(setting, condition=condition)
        for members in named.values()
        for setting, condition in zip(
            members, conditions([setting.effects[0].cell for setting in members], left_out), strict=True
        )
    ]


def in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names in a given order, those it does not know after them by alphabet."""
    known = {name: place for place, name in enumerate(order)}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))


def corpus_name(name: str) -> str:
    """A corpus, or an up- or downstream by its name (`ptbxl, contrastive`), as the paper writes it."""
    corpus, comma, how = name.partition(", ")
    return CORPUS_NAMES.get(corpus, corpus) + comma + how


def size_text(effects: Iterable[CellEffect]) -> str:
    """`n=349`, the training records of comparisons that are shown together; `n=50–349` where these differ."""
    sizes = sorted({effect.cell.num_train for effect in effects})
    return f"n={sizes[0]:,}" + f"–{sizes[-1]:,}" * (len(sizes) > 1)


def is_same_corpus(upstream: str, downstream: str) -> bool:
    """Whether both are of one corpus, whatever their names tell behind it."""
    return upstream.partition(", ")[0] == downstream.partition(", ")[0]


def backbone_name(name: str) -> str:
    """A backbone as the paper writes it; variants keep what they are called."""
    if name in BACKBONE_NAMES:
        return BACKBONE_NAMES[name]
    plain, _, variant = name.partition("_")
    return f"{BACKBONE_NAMES[plain]}, {variant}" if plain in BACKBONE_NAMES else name


def metric_name(metric: str) -> str:
    """A score in words."""
    words = {
        "f1_weighted": "weighted F1",
        "f1_macro": "macro F1",
        "auroc_macro": "macro AUROC",
        "ap_macro": "macro average precision",
    }
    tuned, plain = metric.startswith("tuned/"), metric.removeprefix("tuned/")
    return words.get(plain, plain) + (" at tuned thresholds" if tuned else "")


def _place(effect: CellEffect) -> Place:
    return effect.cell.upstream, effect.cell.downstream_name, effect.cell.backbone


def _rank(effect: CellEffect) -> tuple[int, int]:
    return effect.cell.num_train, len(effect.cell.units)
