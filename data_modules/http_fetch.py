"""One file over HTTP: resumed, retried, capped, checked; accepted whole and right or not at all.

`requests` is used for what it does well: connections kept open, proxies, certificates. Redirects, resuming, limits and
retries are done here. pooch, which the project considered, starts a broken file anew, follows redirects anywhere and
has no limits of size.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from os import fsync
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from data_modules.checksums import Checksum

RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which another attempt may succeed (RFC 9110, 6585, 8470)."""

MAX_WAIT = 120.0
"""Seconds: longer ones are not waited for, whatever `Retry-After` says."""

MAX_REDIRECTS = 5

MAX_WRONG = 2
"""A file that arrives whole and wrong so often is wrong where it is published."""

PROGRESS = 1 << 16
"""Bytes that an attempt must bring for the number of attempts to start anew."""

MIN_RATE = 1000.0
"""Bytes a second, after a grace of `timeout`; a server that is slower is taken for dead."""

_CHUNK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_PORTS = {"http": 80, "https": 443}


class DownloadError(OSError):
    """A file that could not be had; the message says from where and why."""


class WrongFileError(DownloadError):
    """A file that arrived whole and is another one than the list says."""


class StoppedError(DownloadError):
    """The download was told to stop."""


class _TransientError(Exception):
    """An attempt that failed, after which another one may succeed."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fetcher:
    """Fetches from a fixed set of places, on any number of threads.

    Args:
        places: Addresses whose scheme, host and port may be asked; redirects to anywhere else are refused.
        max_total: Bytes that all files together may have.
        timeout: Seconds without a byte after which an attempt has failed.
        max_attempts: Attempts in a row without progress.
        backoff: Seconds before the second attempt; each further wait is twice as long.
        on_bytes: Called with the number of bytes of every chunk that arrived.
    """

    def __init__(
        self,
        places: Iterable[str],
        *,
        max_total: int,
        timeout: float = 30.0,
        max_attempts: int = 6,
        backoff: float = 1.0,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        self._origins = {origin for place in places if (origin := _origin(place))[1] is not None}
        self._max_total, self._timeout = max_total, timeout
        self._max_attempts, self._backoff = max_attempts, backoff
        self._on_bytes = on_bytes
        self._local = threading.local()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.num_bytes = 0

    def stop(self) -> None:
        """Let every thread end at its next chunk; what arrived stays as `.part` for the next time."""
        self._stopped.set()

    def read(self, url: str, *, max_bytes: int) -> bytes:
        """Fetch something small, without a checksum of its own: a list.

        Raises:
            DownloadError: It cannot be had, or is too large.
        """
        content = b""
        for attempt in range(1, self._max_attempts + 1):
            try:
                with self._open(url, {}) as response:
                    if response.status_code != 200:
                        raise DownloadError(f"{url} answers {response.status_code} {response.reason}")
                    content = b"".join(self._chunks(response, 0, max_bytes))
                    _require_length(len(content), response)
                return content
            except _TransientError as error:
                self._give_up_or_wait(url, attempt, error)
        raise AssertionError("the last attempt raises")

    def fetch(self, url: str, target: Path, checksum: Checksum, *, max_bytes: int) -> None:
        """Fetch a file; it takes its name when its content is what the publisher's list says.

        What an earlier attempt, or an earlier process, left in `<name>.part` is continued.

        Raises:
            DownloadError: It cannot be had, is too large, or is not what the list says.
            OSError: The disk refuses.
        """
        part = target.with_name(target.name + ".part")
        failures = num_wrong = 0
        while True:
            before = _size(part)
            try:
                self._transfer(url, part, max_bytes)
                if checksum.matches(part):
                    part.replace(target)
                    return
                part.unlink()
                num_wrong += 1
                if num_wrong >= MAX_WRONG:
                    raise WrongFileError(f"{url} is not the file whose {checksum.algorithm} the publisher lists")
            except _TransientError as error:
                failures = 1 if _size(part) - before >= PROGRESS else failures + 1
                self._give_up_or_wait(url, failures, error)

    def _transfer(self, url: str, part: Path, max_bytes: int) -> None:
        """Bring `part` to its end, from where it stands if the server can do that."""
        offset = _size(part)
        with self._open(url, {"Range": f"bytes={offset}-"} if offset else {}) as response:
            if response.status_code == 416 and offset:
                return  # there is nothing behind it: whole, or wrong, as its checksum will tell
            start = _start(response, offset)
            if start is None:
                part.unlink(missing_ok=True)
                raise _TransientError("it answers with another part of the file than it was asked for")
            size = start
            with part.open("r+b" if start else "wb") as stream:
                stream.seek(start)
                try:
                    for chunk in self._chunks(response, start, max_bytes):
                        stream.write(chunk)
                        size += len(chunk)
                finally:
                    stream.flush()
                    fsync(stream.fileno())
            _require_length(size - start, response)
            if start and (total := _total(response)) is not None and size < total:
                raise _TransientError(f"it sent {size:,} of {total:,} bytes")

    def _chunks(self, response: requests.Response, start: int, max_bytes: int) -> Iterator[bytes]:
        declared = _declared_length(response)
        if declared is not None and start + declared > max_bytes:
            raise DownloadError(f"{response.url} declares {start + declared:,} bytes, at most {max_bytes:,} are taken")
        began, size = time.monotonic(), 0
        while True:
            try:
                # what is there, and not as much as was asked for: a drop a minute would fill no chunk in weeks
                chunk = response.raw.read1(_CHUNK, decode_content=False)
            except (requests.RequestException, HTTPError, OSError) as error:
                raise _TransientError(f"the connection broke after {start + size:,} bytes: {error}") from error
            if not chunk:
                return
            size += len(chunk)
            self._count(len(chunk))
            if start + size > max_bytes:
                raise DownloadError(f"{response.url} is larger than {max_bytes:,} bytes")
            yield chunk
            seconds = time.monotonic() - began - self._timeout
            if seconds > 0 and size < seconds * MIN_RATE:
                raise _TransientError(f"it sends fewer than {MIN_RATE:g} bytes a second")

    def _count(self, num_bytes: int) -> None:
        if self._stopped.is_set():
            raise StoppedError("stopped")
        with self._lock:
            self.num_bytes += num_bytes
            if self.num_bytes > self._max_total:
                raise DownloadError(f"more than {self._max_total:,} bytes arrived, more than the corpus has")
        if self._on_bytes is not None:
            self._on_bytes(num_bytes)

    @contextmanager
    def _open(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Ask, and follow redirects that stay among the known places."""
        for _ in range(1 + MAX_REDIRECTS):
            if self._stopped.is_set():
                raise StoppedError("stopped")
            if _origin(url) not in self._origins:
                raise DownloadError(f"{url} lies outside the publisher's hosts: it is not asked")
            try:
                response = self._session().get(
                    url,
                    headers={"Accept-Encoding": "identity", **headers},
                    stream=True,
                    allow_redirects=False,
                    timeout=self._timeout,
                )
            except requests.exceptions.SSLError as error:
                raise DownloadError(f"{url}: the server's certificate is not accepted: {error}") from error
            except requests.RequestException as error:
                raise _TransientError(f"it cannot be reached: {error}") from error
            except ValueError as error:  # requests looks where a redirect leads, though it is not to follow it
                raise DownloadError(f"{url} redirects to what is no address: {error}") from error
            with response:
                if not response.is_redirect:
                    _require_usable(response)
                    yield response
                    return
                url = urljoin(url, response.headers["Location"])
        raise DownloadError(f"{url}: more than {MAX_REDIRECTS} redirects")

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["User-Agent"] = "ecg-transfer"
        session: requests.Session = self._local.session
        return session

    def _give_up_or_wait(self, url: str, failures: int, error: _TransientError) -> None:
        if failures >= self._max_attempts:
            raise DownloadError(f"{url}: {error}; given up after {failures} attempts") from error
        wait = self._backoff * 2.0 ** (failures - 1) if error.retry_after is None else error.retry_after
        if self._stopped.wait(min(wait, MAX_WAIT)):
            raise StoppedError("stopped")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port; without the latter two where it is no address that may be asked."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.scheme not in _PORTS:
            return parts.scheme, None, None
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:  # a port that is no number, half an IPv6 address
        return "", None, None


def _require_usable(response: requests.Response) -> None:
    if response.status_code in RETRIED:
        said = f"it answers {response.status_code} {response.reason}"
        raise _TransientError(said, _retry_after(response.headers.get("Retry-After")))
    if response.status_code not in (200, 206, 416):
        raise DownloadError(f"{response.url} answers {response.status_code} {response.reason}")
    encoding = response.headers.get("Content-Encoding", "").strip()
    if encoding.casefold() not in ("", "identity"):
        raise DownloadError(f"{response.url} is sent in encoding {encoding}, which was not asked for")


def _retry_after(value: str | None) -> float | None:
    """Seconds until a moment that is given in seconds or as a date."""
    if value is None:
        return None
    if value.isdecimal():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _start(response: requests.Response, offset: int) -> int | None:
    """Where in the file the answer begins: 0, or `offset`; None where it is another place."""
    if response.status_code != 206:
        return 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return offset if offset and match is not None and int(match[1]) == offset else None


def _total(response: requests.Response) -> int | None:
    """Bytes of the whole file, where an answer that is a part of it says so."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[3]) if match is not None and match[3] != "*" else None


def _declared_length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if _LENGTH.fullmatch(value) else None


def _require_length(received: int, response: requests.Response) -> None:
    declared = _declared_length(response)
    if declared is not None and received != declared:
        raise _TransientError(f"it sent {received:,} of {declared:,} bytes")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
