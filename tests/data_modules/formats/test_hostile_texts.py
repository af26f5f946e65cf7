"""Tables, YAML and archives made to harm: columns and lines without end, aliases that explode, odd packing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import yaml

from data_modules.corpora.ptbxl import parse_scp_codes
from data_modules.corpus import CorpusFormatError, RecordError
from data_modules.own.definition import load_definition
from data_modules.own.labels import read_table
from data_modules.plain_yaml import PlainYamlError, read_plain_yaml
from data_modules.unzip import ArchiveError, unzip
from tests.data_modules.formats.limits import read, within_limits

HEADER = ",".join(f"c{number}" for number in range(10**5))


@pytest.mark.parametrize("text", [f"{HEADER}\n1\n", "x" * 2_000_000, "I,II\n" * 100_000, "1\n" * 20_000 + "x"])
def test_recordings_of_a_million_columns_and_endless_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with within_limits(seconds=3), pytest.raises(RecordError):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("text", [f"{HEADER}\n1\n", "x" * 2_000_000, "1," * 500_000, f"a,b\n1,{'x' * 500_000}\n"])
def test_tables_of_a_million_columns_and_endless_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with within_limits(seconds=3), pytest.raises(CorpusFormatError):
        read_table(tmp_path / "a.csv")


def test_an_open_quote_does_not_swallow_the_rest_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text('record,AF\na,"1\nb,0\nc,0\n')
    with pytest.raises(CorpusFormatError, match="no CSV file"):
        read_table(tmp_path / "l.csv")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [LAUGHS, MERGES, "[" * 10_000, "a: " + "{b: " * 500, "- " * 5000 + "x", "a: " + "9" * 5000, "a: 2001-99-99",
     "!!python/object/apply:os.abort []", "a: !!python/name:os.abort", "x" * 2**20, "\0", "a: b: c"],
)  # fmt: skip
def test_yaml_that_explodes(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with within_limits(megabytes=20):
        with pytest.raises(PlainYamlError):
            read_plain_yaml(tmp_path / "x.yaml")
        with pytest.raises(CorpusFormatError):
            load_definition(tmp_path / "x.yaml")


def test_plain_yaml_is_what_yaml_reads(tmp_path: Path) -> None:
    text = "a: [1, 2.5, x, null, true]\nb: {c: {d: 'e: f'}}\n"
    (tmp_path / "x.yaml").write_text(text)
    assert read_plain_yaml(tmp_path / "x.yaml") == yaml.safe_load(text)


def test_a_dictionary_that_keeps_a_pattern_busy_is_none() -> None:
    with within_limits():
        assert parse_scp_codes("{'NORM': 100.0" + " " * 100_000 + "x") is None
    assert parse_scp_codes("{'NORM': 100.0, 'SR': 0.0}") == ("NORM", "SR")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_archives_of_other_methods_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.csv", "1,0\n")
    with pytest.raises(ArchiveError, match="deflate is read"):
        unzip(tmp_path / "a.zip", tmp_path / "out", wanted=r".*", max_bytes=100)


def test_an_encrypted_or_damaged_member_is_an_archive_error(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"1,0\n" * 1000)
    whole = stream.getvalue()
    encrypted = bytearray(whole)
    for start in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
        encrypted[start] |= 1
    damaged = bytearray(whole)
    damaged[40:44] = b"\xff\xff\xff\xff"
    shifted = bytearray(whole)  # members then begin before the file does
    shifted[whole.rindex(b"PK\5\6") + 16] += 1
    for content in (encrypted, damaged, shifted):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ArchiveError):
            unzip(tmp_path / "a.zip", tmp_path / "out", wanted=r".*", max_bytes=10**6)
        assert not (tmp_path / "out" / "a.csv").exists()
