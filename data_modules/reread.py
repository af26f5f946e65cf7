"""Whether a cache is still what the record files give, by reading every one of them again."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from data_modules.corpus import RecordError
from data_modules.datamodule import ECGDataModule
from data_modules.forked import forked_map
from data_modules.ingest import CHUNK, content_digest, screen_for
from data_modules.signal import prepare


def changed_records(data: ECGDataModule) -> dict[str, str]:
    """Records whose file, or whose row in the cache, is not what it was when the cache was built.

    A cache is named by the sizes and times of the files; this finds an edit that kept both, and a damaged cache.

    Args:
        data: Set up.

    Returns:
        Record id -> what differs, in the corpus's order.
    """
    ids, cache = data.record_ids, data.cache
    preprocessing = data.config.preprocessing(data.corpus.spec)

    def look(start: int) -> dict[str, str]:
        changed: dict[str, str] = {}
        for row, record_id in enumerate(ids[start : start + CHUNK], start):
            try:
                record = screen_for(data.corpus.read(record_id), preprocessing)
                digest = content_digest(prepare(record.signal, record.sampling_rate, preprocessing))
            except RecordError as error:
                if record_id not in cache.set_aside:
                    changed[record_id] = f"the file cannot be used any more: {error}"
                continue
            if digest != cache.digests[row]:
                changed[record_id] = "the file has other samples than when the cache was built"
            elif content_digest(np.ascontiguousarray(cache.signals[row].T)) != digest:
                changed[record_id] = f"the cache {cache.path} is damaged; remove it"
        return changed

    whole: dict[str, str] = {}
    with tqdm(total=len(ids), desc=f"reading {data.corpus.spec.name} again", unit=" records", disable=None) as bar:
        for changed in forked_map(look, range(0, len(ids), CHUNK)):
            whole |= changed
            bar.update(CHUNK)
    return whole
