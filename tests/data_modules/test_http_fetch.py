"""One file from a server that behaves badly: accepted whole and right or not at all, and never fetched twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from data_modules.checksums import Checksum
from data_modules.http_fetch import DownloadError, Fetcher, StoppedError, _retry_after
from tests.data_modules.bad_server import BadServer, serve

CONTENT = np.random.default_rng(0).bytes(300_000)
RIGHT = Checksum(algorithm="sha256", digest=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serve() as server:
        server.files["record.dat"] = CONTENT
        yield server


def fetcher(server: BadServer, **options: object) -> Fetcher:
    settings: dict[str, object] = {"max_total": 10_000_000, "timeout": 0.3, "max_attempts": 4, "backoff": 0.001}
    return Fetcher([server.url], **settings | options)  # type: ignore[arg-type]


def fetch(server: BadServer, target: Path, *, max_bytes: int = 1_000_000, **options: object) -> None:
    fetcher(server, **options).fetch(server.url + "record.dat", target, RIGHT, max_bytes=max_bytes)


@pytest.mark.parametrize(
    "script",
    [
        [],
        ["drop"],
        ["drop", "drop", "drop"],
        ["unmeasured_drop"],
        ["wrong"],
        ["503", "503 0", "429"],
        ["500", "drop", "502"],
        ["slow"],
        ["stall"],
        ["drop", "no_range"],
        ["drop", "other_range"],
        ["drop", "slow", "drop"],
        ["redirect /record.dat"],
        ["drop", "long_range"],
        ["Identity"],
    ],
    ids=" ".join,
)
def test_a_file_arrives_whole_and_right(server: BadServer, tmp_path: Path, script: list[str]) -> None:
    server.script["record.dat"] = list(script)
    fetch(server, tmp_path / "record.dat")
    assert (tmp_path / "record.dat").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["record.dat"], "nothing else is left"
    assert server.script["record.dat"] == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("404", "404 Not Found"),
        ("403", "403 Forbidden"),
        ("503", "503 Service Unavailable; given up after 4 attempts"),
        ("wrong", "is not the file whose sha256 the publisher lists"),
        ("huge", "declares 1,000,000,000,000,000 bytes"),
        ("endless", "larger than 1,000,000 bytes"),
        ("gzip", "encoding gzip"),
        ("redirect http://127.0.0.1:9/record.dat", "outside the publisher's hosts"),
        ("redirect https://example.org/record.dat", "outside the publisher's hosts"),
        ("redirect file:///etc/passwd", "outside the publisher's hosts"),
        ("redirect /record.dat", "more than 5 redirects"),
        ("redirect http://127.0.0.1:99999/record.dat", "outside the publisher's hosts"),
        ("redirect http://127.0.0.1:port/record.dat", "outside the publisher's hosts"),
        ("redirect http://[::1/record.dat", "redirects to what is no address"),
        ("stall", "given up after 4 attempts"),
        ("long_length", "given up after 4 attempts|is not the file"),
    ],
)
def test_what_stays_bad_is_refused_and_takes_no_name(
    server: BadServer, tmp_path: Path, step: str, message: str
) -> None:
    server.always["record.dat"] = step
    started = time.monotonic()
    with pytest.raises(DownloadError, match=message):
        fetch(server, tmp_path / "record.dat")
    assert not (tmp_path / "record.dat").exists()
    assert time.monotonic() - started < 10


def test_a_dropped_file_is_continued_where_it_broke(server: BadServer, tmp_path: Path) -> None:
    server.script["record.dat"] = ["drop"]
    fetch(server, tmp_path / "record.dat")
    assert server.asked("record.dat") == [None, "bytes=150000-"]


def test_a_part_that_ends_early_is_continued_and_not_thrown_away(server: BadServer, tmp_path: Path) -> None:
    server.script["record.dat"] = ["drop", "unmeasured_drop", "unmeasured_drop"]
    fetch(server, tmp_path / "record.dat")
    asked = [None, "bytes=150000-", "bytes=225000-", "bytes=262500-"]
    assert server.asked("record.dat") == asked


def test_another_process_continues_what_was_left(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "record.dat.part").write_bytes(CONTENT[:123_456])
    fetch(server, tmp_path / "record.dat")
    assert server.asked("record.dat") == ["bytes=123456-"]
    assert (tmp_path / "record.dat").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b"x" * 1000], ids=["whole", "longer", "wrong"])
def test_what_was_left_is_never_believed(server: BadServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "record.dat.part").write_bytes(left)
    fetch(server, tmp_path / "record.dat")
    assert (tmp_path / "record.dat").read_bytes() == CONTENT


def test_the_sum_of_all_files_is_capped(server: BadServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than 200,000 bytes arrived"):
        fetch(server, tmp_path / "record.dat", max_total=200_000)


def test_a_server_that_is_not_there_is_named(server: BadServer, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/record.dat"
    nobody = Fetcher([url], max_total=1000, timeout=0.2, max_attempts=2, backoff=0.001)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/record\.dat: it cannot be reached"):
        nobody.fetch(url, tmp_path / "record.dat", RIGHT, max_bytes=1000)


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1/x", "ftp://127.0.0.1/x", "https://127.0.0.1/x"])
def test_only_the_named_places_are_asked(server: BadServer, tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="it is not asked"):
        fetcher(server).fetch(url, tmp_path / "x", RIGHT, max_bytes=1000)
    assert server.requests == []


def test_a_place_with_a_password_opens_no_others(server: BadServer, tmp_path: Path) -> None:
    place = server.url.replace("http://", "http://me:secret@")
    with pytest.raises(DownloadError, match="outside the publisher's hosts"):
        Fetcher([place], max_total=1000).fetch(f"{place}record.dat", tmp_path / "x", RIGHT, max_bytes=1000)
    assert server.requests == []


def test_it_stops_at_once_and_can_go_on(server: BadServer, tmp_path: Path) -> None:
    server.script["record.dat"] = ["drop", "503 100"]
    stopped = fetcher(server)
    Timer(0.3, stopped.stop).start()
    started = time.monotonic()
    with pytest.raises(StoppedError):
        stopped.fetch(server.url + "record.dat", tmp_path / "record.dat", RIGHT, max_bytes=1_000_000)
    assert time.monotonic() - started < 3, "a wait of 100 s is cut short"
    assert (tmp_path / "record.dat.part").read_bytes() == CONTENT[:150_000]
    fetch(server, tmp_path / "record.dat")
    assert server.asked("record.dat")[-1] == "bytes=150000-"


def test_a_server_that_drips_is_taken_for_dead_and_holds_nobody(server: BadServer, tmp_path: Path) -> None:
    server.always["record.dat"] = "slow"  # two seconds for 40 bytes
    started = time.monotonic()
    with pytest.raises(DownloadError, match="fewer than 1000 bytes a second; given up after 4 attempts"):
        fetch(server, tmp_path / "record.dat")
    assert time.monotonic() - started < 5
    stopped = fetcher(server, timeout=30.0)
    Timer(0.2, stopped.stop).start()
    started = time.monotonic()
    with pytest.raises(StoppedError):
        stopped.fetch(server.url + "record.dat", tmp_path / "other.dat", RIGHT, max_bytes=1_000_000)
    assert time.monotonic() - started < 1.5


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _retry_after("7") == 7.0
    assert _retry_after(None) is None
    assert _retry_after("soon") is None
    assert _retry_after("Mon, 01 Jan 2001 00:00:00 +9999999999999") is None
    later = _retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert later is not None
    assert 55 < later <= 60
    assert _retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0.0


def test_retry_after_is_waited_for(server: BadServer, tmp_path: Path) -> None:
    server.script["record.dat"] = ["503 1"]
    started = time.monotonic()
    fetch(server, tmp_path / "record.dat")
    assert 1.0 <= time.monotonic() - started < 3


def test_a_list_is_read_whole_or_refused(server: BadServer) -> None:
    server.files["list"] = b"a" * 5000
    server.script["list"] = ["drop", "503"]
    assert fetcher(server).read(server.url + "list", max_bytes=5000) == b"a" * 5000
    with pytest.raises(DownloadError, match="declares 5,000 bytes, at most 4,999"):
        fetcher(server).read(server.url + "list", max_bytes=4999)
