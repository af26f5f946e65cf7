"""Whether a run's data and its upstream are still what they were: its name says which, not what lay in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_modules.sources import is_own
from ecg_transfer.config import RunConfig
from ecg_transfer.runs import Run

if TYPE_CHECKING:
    from data_modules.datamodule import ECGDataModule
    from ecg_transfer.upstream import Upstream


class DataChangedError(ValueError):
    """A run of this configuration was made with other records, signals or labels."""


class UpstreamChangedError(DataChangedError):
    """A fine-tuning of this configuration started from other weights."""


Known = dict[str, str]
"""Digests that were computed already, for looking at many runs in one go."""

READ_BY = ("corpus", "root", "source", "label_set", "original_rate", "sampling_rate", "num_samples", "resample", "crop")
"""Fields of the `data` section that, with `short`, decide which files and tables are read and how."""


def require_same_data(run: Run, config: RunConfig, known: Known | None = None) -> None:
    """Refuse to take a finished run for one on the data of today.

    Records come, labels are corrected, files are damaged or replaced. Two looks: first at the names, sizes and times of
    the record files and at the labels, patients and folds as they are read from the tables (`files_digest`: one look at
    each file, no signal is read). Only where these differ from the run's, or the run is older than this look, the
    content decides (`ECGDataModule.digest`), so that files that were touched, moved or copied are still the same; that
    builds the cache anew. Not noticed is an edit that keeps a file's size and time to the nanosecond: `ecg-transfer
    data check --files` reads everything. Published corpora that were simulated are not looked at: they are written by
    this program.

    Args:
        run: Finished.
        config: What it is to be taken for.
        known: Is filled with what was computed, and used in its place.

    Raises:
        DataChangedError: The data differ.
    """
    about = run.manifest["data"]
    if about["simulated"] and not is_own(config.data.corpus, config.data.root):
        return
    from data_modules.datamodule import ECGDataModule

    known = {} if known is None else known
    data = ECGDataModule(config.data, batch_size=config.optim.batch_size, seed=config.seed)
    read_by = repr([getattr(config.data, name) for name in (*READ_BY, "short")])
    if read_by not in known:
        known[read_by] = data.files_digest()
    if about.get("files_digest") == known[read_by]:
        return
    whole = repr(config.data)
    if whole not in known:
        data.setup()
        known[whole] = data.digest()
    refuse_other_data(run, known[whole])


def require_same_upstream(run: Run, upstream: Upstream | None) -> None:
    """Refuse to take a fine-tuning, finished or interrupted, for one from the upstream of today.

    Its name tells its upstream's, but not what lay there: a pre-training is made anew on other data, or a real one
    takes the place of a simulated one.

    Args:
        run: Of any status; one without a manifest is not looked at.
        upstream: What it would start from today; None for a run that starts from nothing.

    Raises:
        UpstreamChangedError: The weights differ.
    """
    if upstream is None or not (run.path / "manifest.json").exists():
        return
    found, now = (run.manifest.get("upstream") or {}).get("weights_sha256"), upstream.weights_sha256
    if found is not None and now is not None and found != now:
        raise UpstreamChangedError(
            f"{run.path} was fine-tuned from other weights of {upstream.name} (SHA-256 {found[:12]}, now {now[:12]}): "
            "that was trained anew since. Remove or rename that folder to run it anew"
        )


def refuse_other_data(run: Run, digest: str) -> None:
    """Compare a run's manifest, where there is one, with the digest of the data of today.

    Raises:
        DataChangedError: They differ.
    """
    if (run.path / "manifest.json").exists() and (found := run.manifest["data"]["digest"]) != digest:
        raise DataChangedError(
            f"{run.path} was made with other data (digest {found[:12]}, now {digest[:12]}): records, signals, labels "
            "or the YAML have changed since. Remove or rename that folder to run it anew, or keep both by adding the "
            "changed corpus under another name"
        )


def refuse_seen_records(run: Run, data: ECGDataModule, part: str) -> None:
    """Refuse to evaluate a run on a part that may hold records of its training.

    Where the data are those of the run, nothing can have moved between their parts. Where the user asked for others
    (another root, another seed of the split), every record has to be one of those that the run left out for this part.
    Of another corpus no recording may be equal, sample by sample, to one of the run's earlier parts, and a warning
    counts those that an upstream of the run was trained on. Real recordings in place of simulated ones share no records
    with them.

    Args:
        run: With labels.
        data: What it is to be evaluated on, set up.
        part: `train`, whose records it has seen anyway, `val` or `test`.

    Raises:
        DataChangedError: The data are not those of the run although nothing else was asked for; or a record of the part
            was not in that part of the run; or it was in an earlier one under another corpus's name.
    """
    about, config, digest = run.manifest["data"], run.config.data, data.digest()
    if part == "train" or about["digest"] == digest:
        return
    if data.config == config:
        refuse_other_data(run, digest)
    is_other, is_like = data.config.corpus != config.corpus, data.corpus.is_simulated == about["simulated"]
    if is_other or not is_like:
        from ecg_transfer.trained_records import refuse_copies, warn_of_upstreams

        if is_like:
            refuse_copies(run, data, part)
        warn_of_upstreams(run, data, part)
        return
    left_out = left_out_ids(run, part)
    found = [data.record_ids[row] for row in data.rows[part]]
    if others := [record_id for record_id in found if record_id not in left_out]:
        raise DataChangedError(
            f"{len(others)} of the {len(found)} records of the {part} part were not in that part of {run.path} "
            f"({', '.join(others[:3])}, ...): it may have been trained on them. `ecg-transfer predict` takes any record"
        )


def left_out_ids(run: Run, part: str) -> set[str]:
    """Ids of the records that the run had in this part."""
    stored = next(found for name, found in run.predictions.items() if name.endswith(f"/{part}"))
    return set(map(str, stored.record_ids.tolist()))
