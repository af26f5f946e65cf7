"""An own corpus, read through its definition as the published ones are through their layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import Corpus, CorpusFormatError, CorpusSpec, Record, RecordError, RecordTable
from data_modules.formats import FORMATS
from data_modules.own.definition import Definition, LabelRules, load_definition, resolve_path
from data_modules.own.labels import Labels, apply_rules, read_table
from data_modules.own.listing import Place, list_records, read_place
from data_modules.reading import to_record


class OwnCorpus(Corpus):
    """Reads what a `Definition` describes.

    Args:
        definition: From `load_definition`.
        home: Folder of the YAML, which relative paths in it start from.
        label_set: Own corpora have one, `labels`.
        sampling_rate: Own corpora are read at the rates their records have.

    Raises:
        CorpusNotFoundError: Nothing lies where the definition says.
        CorpusFormatError: What lies there cannot be listed.
    """

    def __init__(
        self, definition: Definition, home: Path, *, label_set: str | None = None, sampling_rate: int | None = None
    ) -> None:
        if definition.format not in FORMATS:
            raise CorpusFormatError(f"there is no format {definition.format!r}: there are {', '.join(FORMATS)}")
        if sampling_rate is not None:
            raise ValueError(
                f"{definition.name} is your own: its records are read at their own rates, leave out the rate"
            )
        self.definition = definition
        self.format = FORMATS[definition.format]
        self.path = resolve_path(definition.path, home)
        table = definition.labels.table
        self.label_file = None if table is None else resolve_path(table, home)
        ignored = [self.label_file] if self.label_file else []
        self.places, broken = list_records(self.path, self.format, definition.reading.dataset, ignored)
        self._broken = {stem: error.reason for stem, error in broken.items()}
        self.spec = _spec(definition, len(self.places))
        super().__init__(self.path if self.path.is_dir() else self.path.parent, label_set=label_set)

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether there is such a folder."""
        return root.is_dir()

    @classmethod
    def expected_layout(cls) -> str:
        """Say what was looked for."""
        return "looked for the folder or file that its YAML names"

    def reading_options(self) -> dict[str, int | float | str]:
        """What the user says of the files."""
        return {"format": self.format.name, **self.definition.reading.as_dict()}

    def _read_table(self) -> RecordTable:
        labels = self.read_labels()
        ids = tuple(record_id for record_id in sorted(self.places) if record_id in labels.multi_hot)
        if not ids:
            raise CorpusFormatError(f"none of the {len(self.places)} records in {self.path} has labels")
        without = {record_id: "no_labels" for record_id in self.places if record_id not in labels.multi_hot}
        missing = dict.fromkeys(labels.unmatched, "no_signal")
        folds = labels.folds
        return RecordTable(
            record_ids=ids,
            labels=np.stack([labels.multi_hot[record_id] for record_id in ids]),
            label_names=self.label_names,
            files=tuple(self.places[record_id].file.relative_to(self.root).as_posix() for record_id in ids),
            patient_ids=None if labels.patients is None else tuple(labels.patients[record_id] for record_id in ids),
            folds=None if folds is None else np.array([folds.get(record_id, 0) for record_id in ids], np.int64),
            set_aside=dict(sorted((missing | self._broken | without | dict(labels.problems)).items())),
            notices=(*self._notices(), *_label_notices(self.definition.labels, labels)),
        )

    def read_labels(self) -> Labels:
        """Labels, patients and folds of the records."""
        rules = self.definition.labels
        table = None if self.label_file is None else read_table(self.label_file)
        codes = {} if rules.style != "header" else {key: self._header_codes(self.places[key]) for key in self.places}
        return apply_rules(rules, table, tuple(self.places), codes)

    def _header_codes(self, place: Place) -> tuple[str, ...] | None:
        from data_modules.formats.wfdb import diagnoses
        from data_modules.wfdb_record import read_header

        try:
            return diagnoses(read_header(place.file))
        except RecordError:
            return None

    def _notices(self) -> tuple[str, ...]:
        added = self.definition.num_records
        if len(self.places) <= added:
            return ()
        return (f"{len(self.places)} records are there, {added} were when it was added",)

    def read(self, record_id: str) -> Record:
        """Read one record of `table`; see `Corpus.read`.

        Raises:
            KeyError: There is no such record.
        """
        if record_id not in self.places:
            some = ", ".join(list(self.places)[:5])
            raise KeyError(
                f"{self.spec.name} has no record {record_id!r}; its {len(self.places)} records are {some}, ..."
            )
        options = self.definition.reading
        return to_record(read_place(self.places[record_id], self.format, options.dataset), options, record_id)


def _label_notices(rules: LabelRules, labels: Labels) -> Iterator[str]:
    """Texts that are no labels, and labels whose texts are gone: a table that was edited may have renamed them."""
    found = {text: count for text, count in labels.other_texts.items() if text not in rules.left_out}
    if others := sorted(found.items(), key=lambda item: (-item[1], item[0])):
        most = ", ".join(f"{text} ({count})" for text, count in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        yield (
            "texts that are none of its labels and were not there when it was added, with their records: "
            f"{most}{more}; add it anew with --replace"
        )
    counts = sum(labels.multi_hot.values(), np.zeros(len(rules.names), int))
    gone = [name for name, count in zip(rules.names, counts, strict=True) if not count]
    if gone and rules.style != "columns":
        yield f"no record has {', '.join(gone)}: if the text was changed, add it anew with --replace"


def _spec(definition: Definition, num_found: int) -> CorpusSpec:
    return CorpusSpec(
        name=definition.name,
        title=f"{definition.name} (own corpus)",
        version=definition.digest()[:8],
        url="",
        licence="",
        citation="",
        label_sets={"labels": definition.labels.names},
        sampling_rates=definition.sampling_rates or (1,),
        num_records=max(definition.num_records, num_found),
        short=definition.short,
    )


def open_own(path: Path, *, label_set: str | None = None, sampling_rate: int | None = None) -> OwnCorpus:
    """Open the corpus of a YAML file.

    Raises:
        CorpusNotFoundError: Its records are not where the file says.
        CorpusFormatError: The file or the listing cannot be used.
    """
    return OwnCorpus(load_definition(path), path.parent, label_set=label_set, sampling_rate=sampling_rate)
