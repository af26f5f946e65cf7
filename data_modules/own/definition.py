"""The YAML file that describes an own corpus: where it lies, how it is read, what its labels are."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from data_modules.corpus import CorpusFormatError
from data_modules.plain_yaml import PlainYamlError, read_plain_yaml
from data_modules.reading import ReadingOptions

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""What an own corpus may be called: it becomes part of file names."""

RESERVED = ("cache", "simulated")
"""Folders of the data root that are no corpora."""

HEADER = "# Written by `ecg-transfer corpora add`; edit it, or write it anew with --replace.\n"

Style = Literal["columns", "list", "header"]


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """Where a record's labels, patient and fold stand."""

    style: Style = "columns"
    """`columns`: one column of 0 and 1 a label; `list`: one column of names with `;` between them; `header`: codes in
    the records' own headers."""
    table: str | None = None
    """CSV file, absolute or relative to the YAML."""
    names: tuple[str, ...] = ()
    """The labels, in column order."""
    codes: dict[str, str] = field(default_factory=dict)
    """Text in the file -> label, where they differ (SNOMED CT codes say) or several texts are one label."""
    left_out: tuple[str, ...] = ()
    """Texts that were there when the corpus was added and that are meant to be no labels."""
    record_column: str | None = None
    """Column with the record's name; None takes the rows in the order of the records."""
    label_column: str | None = None
    """Of the style `list`."""
    patient_column: str | None = None
    fold_column: str | None = None
    """Folds 1 to 10 (9 validates, 10 tests), or the words train, val and test."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One own corpus."""

    name: str
    path: str
    """Folder of records, or one file of many; absolute or relative to the YAML."""
    format: str
    """A key of `data_modules.formats.FORMATS`."""
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    labels: LabelRules = field(default_factory=LabelRules)
    short: Literal["set_aside", "pad"] = "pad"
    """What is done with recordings shorter than a model's input."""
    num_records: int = 0
    """Records that were found when it was added."""
    sampling_rates: tuple[int, ...] = ()
    """Hz, the most frequent first, as found then."""

    def digest(self) -> str:
        """A number for everything in it."""
        return hashlib.sha256(repr(_plain(asdict(self))).encode()).hexdigest()


def definition_path(root: Path, name: str) -> Path:
    """Where the YAML of an own corpus lies."""
    return root / f"{name}.yaml"


def own_names(root: Path) -> list[str]:
    """Names of the own corpora of a data root, sorted."""
    return sorted(path.stem for path in root.glob("*.yaml") if is_own_name(path.stem))


def is_own_name(name: str) -> bool:
    """Whether an own corpus may be called so."""
    return NAME.fullmatch(name) is not None and name not in RESERVED


def resolve_path(text: str, beside: Path) -> Path:
    """A path out of a YAML file: absolute, or relative to the folder of that file."""
    return Path(os.path.normpath(beside / Path(text).expanduser()))


def load_definition(path: Path) -> Definition:
    """Read a YAML file.

    Raises:
        CorpusFormatError: It is not what `save_definition` writes; the message names the field.
    """
    try:
        content = read_plain_yaml(path)
    except (OSError, PlainYamlError) as error:
        raise CorpusFormatError(f"{path} cannot be read: {error}") from error
    try:
        definition: Definition = _build(Definition, content)
    except (TypeError, ValueError, OverflowError) as error:
        raise CorpusFormatError(f"{path}: {error}; `ecg-transfer corpora add --replace` writes it anew") from error
    if definition.name != path.stem:
        raise CorpusFormatError(f"{path} describes {definition.name!r}; file and corpus have the same name")
    return definition


def definition_yaml(definition: Definition) -> str:
    """What a YAML file of this corpus holds."""
    return HEADER + str(yaml.safe_dump(_plain(asdict(definition)), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:  # noqa: ANN401 - any tree
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item not in (None, (), {})}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(kind: type[Any], content: object, place: str = "") -> Any:  # noqa: ANN401 - one of the classes above
    """Make a dataclass of a mapping; types and choices are checked, unknown fields refused."""
    if not isinstance(content, dict):
        raise ValueError(f"{place or 'the file'} should hold fields, found {type(content).__name__}")
    known = {entry.name for entry in fields(kind)}
    if unknown := sorted(map(str, content.keys() - known)):
        raise ValueError(f"there is no field {place}{unknown[0]}; there are {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{place}{name}") for name, value in content.items()})


def _value(hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - of any field
    if hasattr(hint, "__dataclass_fields__"):
        return _build(hint, value, f"{place}.")
    if getattr(hint, "__origin__", None) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{place} should be a list, found {value!r}")
        return tuple(_value(get_args(hint)[0], item, place) for item in value)
    if getattr(hint, "__origin__", None) is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{place} should hold fields, found {value!r}")
        return {str(key): str(item) for key, item in value.items()}
    choices = get_args(hint)
    if type(None) in choices:  # an optional field, or a choice that may be left out
        others = [choice for choice in choices if choice is not type(None)]
        return None if value is None else _value(others[0], value, place)
    if choices:
        if value not in choices:
            raise ValueError(f"{place} is {value!r}, expected one of {', '.join(map(str, choices))}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else hint):
        raise ValueError(f"{place} is {value!r}, expected {hint.__name__}")
    return hint(value)
