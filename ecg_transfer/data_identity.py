"""Whether a run's data are still what they were: its name says which corpus, not what lay in the folder."""

from __future__ import annotations

from data_modules.sources import is_own
from ecg_transfer.config import RunConfig
from ecg_transfer.runs import Run


class DataChangedError(ValueError):
    """A run of this configuration was made with other records, signals or labels."""


def require_same_data(run: Run, config: RunConfig) -> None:
    """Refuse to take a finished run for one on the data of today, where the corpus is the user's own.

    Published corpora do not change under their name. An own one may: records come, labels are corrected, the unit in
    its YAML is. What decides is the content (`ECGDataModule.digest`), so that moved or copied files are still the same;
    with the cache in place this costs a look at each file.

    Args:
        run: Finished.
        config: What it is to be taken for.

    Raises:
        DataChangedError: The data differ.
    """
    if not is_own(config.data.corpus, config.data.root):
        return
    from data_modules.datamodule import ECGDataModule

    data = ECGDataModule(config.data, batch_size=config.optim.batch_size, seed=config.seed)
    data.setup()
    refuse_other_data(run, data.digest())


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
