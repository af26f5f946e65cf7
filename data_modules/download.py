"""Corpora from their publishers: each file checked against the publisher's own list, none fetched twice."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from data_modules.checksums import Checksum, ChecksumListError, PublishedFile, parse_sha256sums, parse_zenodo, place
from data_modules.corpus import SIMULATION_MARKER, CorpusSpec
from data_modules.download_source import SOURCE_FILE, Source, Verification, compare, read_source
from data_modules.http_fetch import DownloadError, Fetcher, StoppedError, WrongFileError
from data_modules.publishers import PHYSIONET, PHYSIONET_MIRROR, PUBLICATIONS, Publication
from data_modules.sources import corpus_named, data_root, is_own
from data_modules.unzip import unzip

MAX_LIST_BYTES = 64_000_000
"""Of a publisher's list; challenge-2020's, the largest, has about 10 MB."""

MAX_FAILURES = 20
"""Files that may fail before the rest is not tried."""

CONNECTIONS = 8
"""Files at a time, by default."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What one call of `download` has settled before it asks for anything."""

    spec: CorpusSpec
    published: Publication
    base: str
    list_from: str
    folder: Path
    rate: int | None
    fetcher: Fetcher
    connections: int
    replace_wrong: bool
    progress: bool | None

    def source(self, content: bytes, files: dict[str, str]) -> Source:
        """A source that begins now, with the publisher's list `content`."""
        return Source(
            corpus=self.spec.name,
            version=self.spec.version,
            url=self.spec.url,
            licence=self.spec.licence,
            citation=self.spec.citation,
            rate=self.rate,
            files_from=self.base,
            list_from=self.list_from,
            list_sha256=hashlib.sha256(content).hexdigest(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            files=files,
        )


def download(
    name: str,
    *,
    root: str | Path | None = None,
    rate: int | None = None,
    mirror: str | None = None,
    trust_mirror: bool = False,
    replace_wrong: bool = False,
    connections: int = CONNECTIONS,
    progress: bool | None = None,
    publication: Publication | None = None,
    fetcher: Fetcher | None = None,
) -> Source:
    """Bring a corpus into `root/name`, as its reader wants it. What is there already is checked and kept.

    It may be interrupted at any time: the same call goes on where it stopped.

    Args:
        name: Of the corpus.
        root: Folder of all corpora; see `data_root`.
        rate: Hz, for a corpus that is published at several; None takes all.
        mirror: Address that holds the files in place of the publisher's; `s3` is PhysioNet's own copy there. The list
            still comes from the publisher.
        trust_mirror: Take the list, too, from the mirror.
        replace_wrong: Fetch files anew that are there with another content, in place of stopping.
        connections: Files at a time.
        progress: Whether to show a bar; None shows one where there is a terminal.
        publication: Where it is published, if not where `PUBLICATIONS` says.
        fetcher: What to fetch with.

    Returns:
        Where everything came from, as `SOURCE.json` has it.

    Raises:
        DownloadError: Files could not be had; the others are there, and the message says how many are not.
        ChecksumListError: The publisher's list cannot be used.
        ValueError: No such corpus, or no such rate.
        OSError: No room, or the disk refuses.
    """
    spec = _published_spec(name, root)
    published = (publication or PUBLICATIONS[name]).select(rate)
    base = _base(published, mirror)
    folder = data_root(root) / name
    if (folder / SIMULATION_MARKER).exists():
        raise FileExistsError(f"{folder} holds a simulated corpus: move it away, or name another folder with --root")
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job(
        spec=spec,
        published=published,
        base=base,
        list_from=base + published.checksums.rpartition("/")[2] if trust_mirror and mirror else published.checksums,
        folder=folder,
        rate=rate,
        fetcher=fetcher or _fetcher(published, base),
        connections=max(connections, 1),
        replace_wrong=replace_wrong,
        progress=progress,
    )
    with _only_one(folder):
        source = read_source(folder)
        wanted = (name, spec.version, rate, job.list_from)  # a mirror's list is trusted by the call that says so alone
        if source is None or (source.corpus, source.version, source.rate, source.list_from) != wanted:
            source = None
        if published.listing == "zenodo":
            return _download_archive(job, source)
        if source is None:
            source = _first_source(job)
            source.write(folder)
        _download_files(job, source)
        source = replace(source, complete=True)
        source.write(folder)
        return source


def _published_spec(name: str, root: str | Path | None) -> CorpusSpec:
    if is_own(name, root):
        raise ValueError(
            f"{name} is your own corpus: nobody published a list of its files to compare with; "
            f"`ecg-transfer data check {name}` looks for copies, leaks and damage"
        )
    return corpus_named(name, root).spec


def verify(name: str, *, root: str | Path | None = None, rate: int | None = None) -> Verification:
    """Hash every file of a corpus again and compare it with the publisher's list.

    The list is the one in `SOURCE.json`; for a copy that came another way it is fetched.

    Args:
        name: Of the corpus.
        root: Folder of all corpora.
        rate: Hz of the only files that are to be compared; None takes all that were asked for when it was downloaded.

    Raises:
        DownloadError: There is no `SOURCE.json` of these files, and the publisher's list cannot be had.
        ValueError: It is not published at that rate.
    """
    spec = _published_spec(name, root)
    folder = data_root(root) / name
    source, published = read_source(folder), PUBLICATIONS[name].select(rate)
    if source is None or (rate is not None and source.rate not in (None, rate)):
        if published.listing == "zenodo":
            raise DownloadError(f"{folder} has no SOURCE.json, and Zenodo lists the archive only: download {name} anew")
        source = _first_source(
            _Job(
                spec=spec,
                published=published,
                base=published.base,
                list_from=published.checksums,
                folder=folder,
                rate=rate,
                fetcher=_fetcher(published, published.base),
                connections=1,
                replace_wrong=False,
                progress=False,
            )
        )
    files = {path: digest for path, digest in source.files.items() if re.fullmatch(published.wanted, path, re.ASCII)}
    return replace(compare(folder, source.files if rate is None else files), rate=rate or source.rate)


def _fetcher(published: Publication, base: str) -> Fetcher:
    places = [base, published.checksums, *(f"https://{host}/" for host in published.hosts)]
    return Fetcher(places, max_total=2 * published.num_bytes + MAX_LIST_BYTES)


def _base(published: Publication, mirror: str | None) -> str:
    """The address that the files' names are appended to."""
    if mirror is None:
        return published.base
    if mirror == "s3":
        if not published.base.startswith(PHYSIONET):
            raise ValueError("only PhysioNet's corpora have a copy on s3; leave --mirror away")
        return PHYSIONET_MIRROR + published.base.removeprefix(PHYSIONET)
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--mirror is {mirror!r}, expected an address that file names can be appended to: https://...")
    if parts.username is not None:
        raise ValueError(
            f"--mirror has a user's name before {parts.hostname}, which messages and SOURCE.json would show: leave it "
            "out, and write it and the password into ~/.netrc"
        )
    return mirror.rstrip("/") + "/"


def _first_source(job: _Job) -> Source:
    """Fetch the publisher's list and look whether it is whole."""
    published = job.published
    content = job.fetcher.read(job.list_from, max_bytes=MAX_LIST_BYTES)
    try:
        files = parse_sha256sums(content, folder=published.folder, wanted=published.wanted)
    except (ChecksumListError, UnicodeDecodeError) as error:
        raise ChecksumListError(f"{job.list_from}: {error}") from error
    names = {file.path for file in files}
    counts = {suffix: sum(name.endswith(f".{suffix}") for name in names) for suffix in published.suffixes}
    missing = [table for table in published.tables if table not in names]
    if missing or any(count != published.num_records for count in counts.values()):
        found = ", ".join([f"{count:,} .{suffix}" for suffix, count in counts.items()] + [f"no {m}" for m in missing])
        raise ChecksumListError(
            f"{job.list_from} names {found} of {job.spec.title}, expected {published.num_records:,} each: the list is "
            "torn, or another release's"
        )
    return job.source(content, {file.path: file.checksum.digest for file in files})


def _download_files(job: _Job, source: Source) -> None:
    found = compare(job.folder, source.files)
    _require_none_wrong(job, found)
    wanted = sorted([*found.missing, *found.wrong])
    _require_room(job.folder, job.published.num_bytes * len(wanted) // max(len(source.files), 1))
    files = [
        PublishedFile(
            path=name,
            address=job.published.folder + name,
            checksum=Checksum(algorithm="sha256", digest=source.files[name]),
        )
        for name in wanted
    ]
    failures = _fetch_all(job, files)
    if failures:
        _raise_failures(job.spec.name, failures, len(wanted), source)


def _fetch_all(job: _Job, files: Sequence[PublishedFile]) -> list[DownloadError]:
    """Fetch on several connections; a file that fails does not keep the others back, many of them do.

    Raises:
        OSError: The disk refuses: nothing more is tried.
    """

    def fetch(file: PublishedFile) -> None:
        target = place(job.folder, file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        job.fetcher.fetch(job.base + file.address, target, file.checksum, max_bytes=job.published.max_file_bytes)

    failures: list[DownloadError] = []
    hidden = None if job.progress is None else not job.progress  # tqdm's None: hidden where there is no terminal
    waiting, pending = iter(files), set[Future[None]]()
    with (
        ThreadPoolExecutor(job.connections) as pool,
        tqdm(total=len(files), desc=f"downloading {job.spec.name}", unit=" files", disable=hidden) as bar,
        _stopping(job.fetcher),
    ):
        while True:
            while len(pending) < 4 * job.connections and len(failures) < MAX_FAILURES:
                if (file := next(waiting, None)) is None:
                    break
                pending.add(pool.submit(fetch, file))
            if not pending:
                return failures
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    future.result()
                except DownloadError as error:
                    failures.append(error)
                bar.update()
            bar.set_postfix_str(f"{job.fetcher.num_bytes / 1e6:,.0f} MB", refresh=False)


@contextmanager
def _stopping(fetcher: Fetcher) -> Iterator[None]:
    """Tell the threads to end where this one was interrupted or failed."""
    try:
        yield
    except BaseException:
        fetcher.stop()
        raise


def _download_archive(job: _Job, source: Source | None) -> Source:
    """Fetch the one archive of a Zenodo record and unpack it."""
    folder, published = job.folder, job.published
    if source is not None and source.complete:
        found = compare(folder, source.files)
        if found.is_whole:
            return source
        _require_none_wrong(job, found)
    content = job.fetcher.read(job.list_from, max_bytes=MAX_LIST_BYTES)
    file, *others = parse_zenodo(content, wanted=published.archive)
    if others:
        raise ChecksumListError(f"{job.list_from} names {1 + len(others)} archives, expected one")
    _require_room(folder, published.num_bytes)
    archive = place(folder, file.path)
    if not file.checksum.matches(archive):
        failures = _fetch_all(job, [file])
        if failures:
            _raise_failures(job.spec.name, failures, 1)
    with archive.open("rb") as stream:
        archive_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    files = unzip(archive, folder, wanted=published.wanted, max_bytes=2 * published.num_bytes)
    source = replace(job.source(content, files), archive_sha256=archive_sha256, complete=True)
    source.write(folder)
    archive.unlink()
    return source


def _require_none_wrong(job: _Job, found: Verification) -> None:
    if found.wrong and not job.replace_wrong:
        raise DownloadError(
            f"{job.folder}: {found.sentence()}: damaged, or of another release. --replace fetches those anew; nothing "
            "was touched"
        )


def _require_room(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes * 1.05:
        raise OSError(
            errno.ENOSPC,
            f"about {num_bytes / 1e9:.1f} GB are needed and {folder} has {free / 1e9:.1f} GB left; make room, or name "
            "another folder with --root or ECG_DATA_ROOT",
        )


def _raise_failures(
    name: str, failures: Sequence[DownloadError], num_wanted: int, source: Source | None = None
) -> None:
    """Say what could not be had, and where the list that it was compared with may be an old one."""
    told = [failure for failure in failures if not isinstance(failure, StoppedError)]
    shown = "; ".join(str(failure) for failure in told[:3])
    given_up = f"; given up after {MAX_FAILURES} failures" if len(failures) >= MAX_FAILURES else ""
    old = ""
    if source is not None and any(isinstance(failure, WrongFileError) for failure in failures):
        old = f". The list is that of {source.started}: was it changed since, removing {SOURCE_FILE} fetches it anew"
    raise DownloadError(
        f"{len(failures):,} of {num_wanted:,} files of {name} could not be had: {shown}{given_up}. What arrived is "
        f"kept: the same command goes on from there{old}"
    )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Refuse a second download into the same folder; the lock ends with its process, however that ends."""
    import fcntl

    with (folder / ".download.lock").open("wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(f"another download into {folder} is at work: wait for it, or end it") from error
        yield
