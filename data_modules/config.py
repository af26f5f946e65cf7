"""What decides which data a run sees: the fields of the `data` section of a run's configuration."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from data_modules.corpus import CorpusSpec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Positives = Literal["segment", "patient"]
"""Which two views should look alike: see `data_modules.positive_pairs`."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a record becomes a model's input. Everything but `scale` decides what the cache holds."""

    sampling_rate: int = 100
    """Hz after resampling."""
    num_samples: int = 1000
    """Samples a model sees, at `sampling_rate`: 1000 are 10 s at 100 Hz."""
    resample: Literal["polyphase", "stride"] = "polyphase"
    """`polyphase` filters before it decimates; `stride` keeps every k-th sample unfiltered, as the paper does."""
    crop: Literal["first", "center"] = "first"
    """Which part of a longer record is kept."""
    short: Literal["set_aside", "pad"] = "set_aside"
    """What is done with a shorter record: left out and counted, or zeros appended."""
    scale: Literal["minmax", "millivolt", "zscore", "none"] = "minmax"
    """`minmax`: per record and lead to [-1, 1], as the paper; `millivolt`: one unit is 0.2 mV; `zscore`: per record and
    lead; `none`: millivolts."""


@dataclass(kw_only=True)
class DataConfig:
    """The `data` section: which corpus, how it is prepared and how it is split."""

    corpus: str = "cpsc2018"
    """Name of the corpus."""
    label_set: str | None = None
    """One of the corpus's label sets; None is its default."""
    source: Literal["auto", "real", "simulated"] = "auto"
    """`auto` uses the corpus on disk and simulates one that is not there; `real` refuses instead."""
    root: str | None = None
    """Folder of the corpora; None is the environment's ECG_DATA_ROOT, or else `data`."""
    num_simulated: int | None = None
    """Records of a simulated corpus; None is its default size."""
    original_rate: int | None = None
    """Hz at which the files are read, for a corpus published at several; None is its default."""

    sampling_rate: int = 100
    """Hz after resampling."""
    num_samples: int = 1000
    """Samples of a model's input."""
    resample: Literal["polyphase", "stride"] = "polyphase"
    """With (`polyphase`) or without (`stride`, the paper's) an anti-aliasing filter."""
    crop: Literal["first", "center"] = "first"
    """Which part of a longer record is kept."""
    short: Literal["set_aside", "pad"] | None = None
    """What is done with a shorter record; None is the corpus's own default."""
    scale: Literal["minmax", "millivolt", "zscore", "none"] = "minmax"
    """How amplitudes are scaled; see `Preprocessing.scale`."""
    unlabelled: Literal["keep", "drop"] | None = None
    """What is done with records that carry none of the labels; None is the corpus's own default."""

    split: Literal["patient", "paper"] = "patient"
    """`patient`: patients and copies on one side, by official folds where there are some; `paper`: by record, 67/33,
    where there are no official folds."""
    split_seed: int = 1
    """Seed of the split, apart from the run's seed: all runs on a corpus share their test set."""
    val_fraction: float = 0.15
    """Share of validation records of all records in a `patient` split without official folds."""
    test_fraction: float = 0.25
    """Share of test records of all records in a `patient` split without official folds."""
    subset: float | None = None
    """Training records used: a number of them above 1, a fraction up to 1; None is all."""
    subset_seed: int = 0
    """Seed of the nested subsets: a larger subset of the same seed holds the smaller."""

    def num_wanted(self, num_train: int) -> int:
        """Number of training records that `subset` asks for, which may be none or more than there are.

        Args:
            num_train: How many there are.

        Raises:
            ValueError: Neither a share nor a whole number.
        """
        if self.subset is None:
            return num_train
        if not self.subset <= 1 and self.subset % 1 != 0:  # also of infinity and of what is no number
            raise ValueError(f"data.subset={self.subset:g}, expected a share of at most 1 or a whole number of records")
        return round(self.subset * num_train) if self.subset <= 1 else int(self.subset)

    def preprocessing(self, spec: CorpusSpec) -> Preprocessing:
        """How a record of this corpus becomes a model's input: the fields above, or the corpus's own defaults."""
        return Preprocessing(
            sampling_rate=self.sampling_rate,
            num_samples=self.num_samples,
            resample=self.resample,
            crop=self.crop,
            short=self.short or spec.short,
            scale=self.scale,
        )


@dataclass(kw_only=True)
class CropConfig:
    """The `crops` section: training on random pieces of the records, evaluation on windows over the whole of them."""

    seconds: float | None = None
    """Length of a piece, drawn anew for each record and epoch; None trains on whole records. The PTB-XL benchmark's is
    2.5 (Strodthoff et al. 2020, arXiv 2004.13701). Amplitudes are scaled before, on the whole record."""
    windows: Literal["max", "mean"] = "max"
    """How the windows' probabilities become a record's: the largest (the benchmark's) or the mean."""
    stride_seconds: float | None = None
    """From one window to the next; None is half a window."""

    def num_samples(self, data: DataConfig) -> int | None:
        """Samples of a piece; None where whole records are trained on.

        Raises:
            ValueError: A piece that is longer than the records or has no sample, or windows that leave gaps.
        """
        if self.seconds is None:
            return None
        length, whole = round(self.seconds * data.sampling_rate), data.num_samples / data.sampling_rate
        if not 1 <= length <= data.num_samples:
            raise ValueError(
                f"crops.seconds={self.seconds:g} cuts no piece out of records of {whole:g} s (data.num_samples="
                f"{data.num_samples} at {data.sampling_rate} Hz); give more than 0 and at most {whole:g}, or null"
            )
        if self.stride_seconds is not None and not 0 < self.stride_seconds <= self.seconds:
            raise ValueError(
                f"crops.stride_seconds={self.stride_seconds:g} leaves parts of a record unseen by windows of "
                f"{self.seconds:g} s, or never moves on; give more than 0 and at most {self.seconds:g}"
            )
        return length


@dataclass(kw_only=True)
class AugmentConfig:
    """The `augment` section: small changes to the training records, other ones in every epoch; none by default."""

    scaling: float = 0.0
    """Amplitudes are multiplied by up to 1 + this, or divided, all leads of a record alike."""
    lead_masking: float = 0.0
    """Probability with which a lead is missing (zero)."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, in the unit of the scaled signal (`millivolt`: 0.2 mV)."""

    @property
    def is_active(self) -> bool:
        """Whether anything is changed.

        Raises:
            ValueError: A strength that cannot be.
        """
        if self.scaling < 0 or self.noise < 0 or not 0 <= self.lead_masking < 1:
            raise ValueError(
                f"augment.scaling={self.scaling:g}, augment.lead_masking={self.lead_masking:g}, augment.noise="
                f"{self.noise:g}: none of them is negative, and lead_masking is below 1"
            )
        return bool(self.scaling or self.lead_masking or self.noise)


def require_known_words(config: DataclassInstance) -> None:
    """Refuse a field whose value is none of the words that its type lists.

    Args:
        config: A section, made in Python; one that was read from text is checked as it is read.

    Raises:
        ValueError: There is one; the message has its words.
    """
    hints = get_type_hints(type(config))
    for field in fields(config):
        kinds = [kind for kind in (hints[field.name], *get_args(hints[field.name])) if get_origin(kind) is Literal]
        words = [word for kind in kinds for word in get_args(kind)]
        if NoneType in get_args(hints[field.name]):
            words.append(None)
        value = getattr(config, field.name)
        if kinds and value not in words:
            raise ValueError(
                f"{type(config).__name__}.{field.name} is {value!r}, expected one of {', '.join(map(str, words))}"
            )
