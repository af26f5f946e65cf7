"""Whole corpora from a local server that behaves badly: complete and right, or an error and a state to go on from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from data_modules import download as module
from data_modules.checksums import ChecksumListError
from data_modules.corpora import CORPORA
from data_modules.corpora.challenge2020 import Challenge2020Corpus
from data_modules.corpora.ptb import PTB
from data_modules.download import download, verify
from data_modules.download_source import read_source
from data_modules.http_fetch import DownloadError, Fetcher
from data_modules.publishers import PUBLICATIONS, Publication
from ecg_transfer.data_cli import app
from tests.data_modules.bad_server import BadServer, serve

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = [f"patient00{number}/s000{number}_re.{kind}" for number in range(1, 5) for kind in ("dat", "hea", "xyz")]
FILES = {name: np.random.default_rng(index).bytes(100_000) for index, name in enumerate(NAMES)}


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serve() as server:
        server.files |= {f"db/{name}": content for name, content in FILES.items()}
        lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in FILES.items()]
        server.files["db/SHA256SUMS.txt"] = "\n".join([*lines, f"{'0' * 64} index.html", ""]).encode()
        yield server


def published(server: BadServer) -> Publication:
    return replace(
        PUBLICATIONS["ptb"],
        base=f"{server.url}db/",
        checksums=f"{server.url}db/SHA256SUMS.txt",
        num_records=4,
        num_bytes=1_200_000,
    )


def get(server: BadServer, root: Path, **options: object) -> None:
    fetcher = Fetcher([server.url], max_total=20_000_000, timeout=0.5, max_attempts=4, backoff=0.001)
    given = {"publication": published(server), "fetcher": fetcher, "progress": False, "connections": 4}
    download("ptb", root=root, **given | options)  # type: ignore[arg-type]


def on_disk(root: Path) -> dict[str, bytes]:
    folder = root / "ptb"
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def test_a_corpus_arrives_and_is_never_fetched_twice(server: BadServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    assert on_disk(tmp_path) == FILES
    assert PTB.is_present(tmp_path / "ptb")
    assert sorted(path for path, _ in server.requests) == sorted(["db/SHA256SUMS.txt", *(f"db/{n}" for n in NAMES)])
    source = read_source(tmp_path / "ptb")
    assert source is not None
    assert source.complete
    assert source.licence == "ODC-By-1.0"
    assert source.list_sha256 == hashlib.sha256(server.files["db/SHA256SUMS.txt"]).hexdigest()
    server.requests.clear()
    get(server, tmp_path)
    assert server.requests == [], "not even the list is asked for again"
    assert verify("ptb", root=tmp_path).is_whole


STEPS = ["drop", "wrong", "503 0", "no_range", "unmeasured_drop", "stall", "slow", "other_range", "500", "well"]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_on_the_way_the_corpus_is_right(server: BadServer, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in [*NAMES, "SHA256SUMS.txt"]:
        kinds = STEPS if name in NAMES else ["503 0", "drop", "stall", "500"]
        server.script[f"db/{name}"] = list(rng.choice(kinds, size=rng.integers(3)))
    for _ in range(5):
        try:
            get(server, tmp_path)
            break
        except DownloadError:
            for name, content in on_disk(tmp_path).items():
                assert content == FILES[name], "what has its name is right"
    assert on_disk(tmp_path) == FILES
    assert not list(tmp_path.rglob("*.part"))


def test_one_file_that_is_gone_keeps_no_other_back(server: BadServer, tmp_path: Path) -> None:
    server.always[f"db/{NAMES[0]}"] = "404"
    with pytest.raises(DownloadError, match=r"1 of 12 files of ptb could not be had: .*404 Not Found"):
        get(server, tmp_path)
    assert on_disk(tmp_path) == {name: FILES[name] for name in NAMES[1:]}
    found = verify("ptb", root=tmp_path)
    assert (found.missing, found.wrong) == ((NAMES[0],), ())
    server.always.clear()
    server.requests.clear()
    get(server, tmp_path)
    assert server.requests == [(f"db/{NAMES[0]}", None)]


def test_a_list_that_was_changed_half_way_is_told(server: BadServer, tmp_path: Path) -> None:
    server.always[f"db/{NAMES[0]}"] = "404"
    with pytest.raises(DownloadError, match=r"goes on from there$"):
        get(server, tmp_path)
    server.always.clear()
    new = FILES[NAMES[0]][::-1]
    server.files[f"db/{NAMES[0]}"] = new
    old_digest, digest = (hashlib.sha256(content).hexdigest().encode() for content in (FILES[NAMES[0]], new))
    server.files["db/SHA256SUMS.txt"] = server.files["db/SHA256SUMS.txt"].replace(old_digest, digest)
    with pytest.raises(DownloadError, match=r"The list is that of 2.*removing SOURCE\.json fetches it anew"):
        get(server, tmp_path)
    (tmp_path / "ptb" / "SOURCE.json").unlink()
    get(server, tmp_path)
    assert on_disk(tmp_path) == FILES | {NAMES[0]: new}


def test_a_publisher_that_is_down_is_not_asked_for_every_file(
    server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FAILURES", 3)
    server.always |= {f"db/{name}": "404" for name in NAMES}
    with pytest.raises(DownloadError, match="given up after 3 failures"):
        get(server, tmp_path, connections=1)
    assert 3 <= len(server.requests) - 1 <= 3 + 4


def test_files_of_another_release_are_not_touched(server: BadServer, tmp_path: Path) -> None:
    mine = tmp_path / "ptb" / NAMES[1]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own")
    with pytest.raises(DownloadError, match="1 are not the published ones"):
        get(server, tmp_path)
    assert mine.read_bytes() == b"my own"
    assert server.requests == [("db/SHA256SUMS.txt", None)]
    get(server, tmp_path, replace_wrong=True)
    assert on_disk(tmp_path) == FILES


def test_files_that_came_another_way_are_kept(server: BadServer, tmp_path: Path) -> None:
    for name in NAMES[:6]:
        path = tmp_path / "ptb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    get(server, tmp_path)
    assert sorted(path for path, _ in server.requests[1:]) == sorted(f"db/{name}" for name in NAMES[6:])


def test_verify_finds_one_changed_byte(server: BadServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    path = tmp_path / "ptb" / NAMES[3]
    path.write_bytes(FILES[NAMES[3]][:-1] + b"?")
    (tmp_path / "ptb" / NAMES[4]).unlink()
    found = verify("ptb", root=tmp_path)
    assert (found.missing, found.wrong) == ((NAMES[4],), (NAMES[3],))
    assert found.sentence().startswith("of 12 files 1 are missing")


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_a_torn_list_is_refused(server: BadServer, tmp_path: Path, cut: int) -> None:
    whole = server.files["db/SHA256SUMS.txt"]
    server.files["db/SHA256SUMS.txt"] = b"\n".join(whole.splitlines()[:cut])
    with pytest.raises(ChecksumListError, match="expected 4"):
        get(server, tmp_path)
    assert on_disk(tmp_path) == {}


def test_a_mirror_gives_the_files_and_the_publisher_the_list(server: BadServer, tmp_path: Path) -> None:
    server.files |= {f"copy/{name}": content for name, content in FILES.items()}
    get(server, tmp_path, mirror=f"{server.url}copy")
    assert {path.partition("/")[0] for path, _ in server.requests[1:]} == {"copy"}
    assert server.requests[0] == ("db/SHA256SUMS.txt", None)
    server.requests.clear()
    server.files["copy/SHA256SUMS.txt"] = server.files["db/SHA256SUMS.txt"]
    get(server, tmp_path / "other", mirror=f"{server.url}copy/", trust_mirror=True)
    assert {path.partition("/")[0] for path, _ in server.requests} == {"copy"}
    with pytest.raises(ValueError, match="--mirror"):
        get(server, tmp_path, mirror="file:///srv/copy")


def test_a_mirror_is_named_without_a_password(server: BadServer, tmp_path: Path) -> None:
    named = server.url.replace("http://", "http://me:secret@")
    with pytest.raises(ValueError, match=r"a user's name before 127\.0\.0\.1, .* ~/\.netrc") as refused:
        get(server, tmp_path, mirror=f"{named}db")
    assert "secret" not in str(refused.value)
    assert server.requests == []


def test_a_mirrors_list_is_trusted_by_no_later_call(server: BadServer, tmp_path: Path) -> None:
    other = {name: content[::-1] for name, content in FILES.items()}
    with serve() as mirror:
        mirror.files |= {f"db/{name}": content for name, content in other.items()}
        lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in other.items()]
        mirror.files["db/SHA256SUMS.txt"] = "\n".join(lines).encode()
        mirror.always[f"db/{NAMES[0]}"] = "404"
        fetcher = Fetcher([mirror.url], max_total=20_000_000, timeout=0.5, max_attempts=2, backoff=0.001)
        with pytest.raises(DownloadError, match="404 Not Found"):
            get(server, tmp_path, mirror=f"{mirror.url}db", trust_mirror=True, fetcher=fetcher)
    with pytest.raises(DownloadError, match="11 are not the published ones"):
        get(server, tmp_path)
    assert server.requests == [("db/SHA256SUMS.txt", None)]
    get(server, tmp_path, replace_wrong=True)
    assert on_disk(tmp_path) == FILES


def test_no_room_is_said_before_anything_is_fetched(
    server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(OSError, match=r"about 0\.0 GB are needed"):
        get(server, tmp_path)
    assert [path for path, _ in server.requests] == ["db/SHA256SUMS.txt"]


def test_a_simulated_corpus_is_never_filled_up(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb/SIMULATED.json").write_text("{}")
    with pytest.raises(FileExistsError, match="simulated"):
        get(server, tmp_path)
    assert server.requests == []


def test_two_downloads_do_not_meet(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "ptb").mkdir()
    with module._only_one(tmp_path / "ptb"), pytest.raises(DownloadError, match="another download"):
        get(server, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"corpus": "ptb"}', '{"files": {"../x": "00"}}'])
def test_a_source_that_cannot_be_used_is_written_anew(server: BadServer, tmp_path: Path, content: str) -> None:
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb/SOURCE.json").write_text(content)
    assert read_source(tmp_path / "ptb") is None
    get(server, tmp_path)
    assert on_disk(tmp_path) == FILES


def test_a_source_with_a_name_that_leads_out_is_not_believed(server: BadServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    path = tmp_path / "ptb/SOURCE.json"
    content = json.loads(path.read_text())
    content["files"]["../../x"] = "0" * 64
    path.write_text(json.dumps(content))
    assert read_source(tmp_path / "ptb") is None


def tracings(server: BadServer) -> Publication:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("data/ecg_tracings.hdf5", FILES[NAMES[0]])
        opened.writestr("data/annotations/gold_standard.csv", b"1dAVb\n0\n")
    content = packed.getvalue()
    server.files["files/data.zip"] = content
    entry = {"key": "data.zip", "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}"}
    server.files["api/records/1"] = json.dumps({"files": [entry]}).encode()
    return replace(
        PUBLICATIONS["ribeiro"],
        base=f"{server.url}files/",
        checksums=f"{server.url}api/records/1",
        num_bytes=1_000_000,
        max_file_bytes=1_000_000,
    )


def test_an_archive_arrives_is_unpacked_and_not_fetched_again(server: BadServer, tmp_path: Path) -> None:
    publication = tracings(server)
    server.script["files/data.zip"] = ["drop", "wrong"]
    fetcher = Fetcher([server.url], max_total=20_000_000, backoff=0.001)
    for _ in range(2):
        source = download("ribeiro", root=tmp_path, publication=publication, fetcher=fetcher, progress=False)
    assert len(server.asked("files/data.zip")) == 3
    assert source.archive_sha256 == hashlib.sha256(server.files["files/data.zip"]).hexdigest()
    assert (tmp_path / "ribeiro/ecg_tracings.hdf5").read_bytes() == FILES[NAMES[0]]
    assert CORPORA["ribeiro"].is_present(tmp_path / "ribeiro")
    assert verify("ribeiro", root=tmp_path).is_whole
    (tmp_path / "ribeiro/ecg_tracings.hdf5").write_bytes(b"")
    assert verify("ribeiro", root=tmp_path).wrong == ("ecg_tracings.hdf5",)


@pytest.mark.parametrize("name", sorted(PUBLICATIONS))
def test_what_is_fetched_is_what_the_readers_read(name: str) -> None:
    publication = PUBLICATIONS[name].select(None)
    assert publication.base.startswith("https://")
    assert publication.checksums.startswith("https://")
    examples = {
        "ptbxl": ["ptbxl_database.csv", "records100/21000/21837_lr.dat", "records500/00000/00001_hr.hea"],
        "cpsc2018": ["g1/A0001.hea", "g7/A6877.mat"],
        "georgia": ["g11/E10344.hea", "g1/E00001.mat"],
        "ptb": ["patient001/s0010_re.dat", "patient104/s0306lre.hea"],
        "ribeiro": ["ecg_tracings.hdf5", "annotations/gold_standard.csv"],
    }
    assert all(re.fullmatch(publication.wanted, example) for example in examples[name])
    corpus = CORPORA[name]
    if issubclass(corpus, Challenge2020Corpus):
        assert all(corpus.record_pattern.fullmatch(Path(example).stem) for example in examples[name])
    assert set(publication.wanted_at) == (set(corpus.spec.sampling_rates) if name == "ptbxl" else set())


def test_ptbxl_comes_at_one_rate_or_both() -> None:
    one, both = PUBLICATIONS["ptbxl"].select(100), PUBLICATIONS["ptbxl"].select(None)
    assert (one.num_records, both.num_records) == (21_799, 2 * 21_799)
    assert re.fullmatch(one.wanted, "records100/00000/00001_lr.dat")
    assert not re.fullmatch(one.wanted, "records500/00000/00001_hr.dat")
    for name, rate in (("ptbxl", 250), ("georgia", 100)):
        with pytest.raises(ValueError, match="there is no rate"):
            PUBLICATIONS[name].select(rate)


def test_the_commands_say_what_was_found(server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLICATIONS, "ptb", published(server))
    run = CliRunner().invoke
    done = run(app, ["download", "ptb", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "12 files, each with its published checksum" in done.output
    assert "Bousseljot" in done.output
    assert run(app, ["verify", "ptb", "--root", str(tmp_path)]).exit_code == 0
    (tmp_path / "ptb" / NAMES[0]).write_bytes(b"")
    found = run(app, ["verify", "ptb", "--root", str(tmp_path)])
    assert (found.exit_code, "1 are not the published ones" in found.output) == (1, True)
    assert "no corpus 'ptbx'" in str(run(app, ["download", "ptbx"]).exception)
    assert "no rate of 100" in str(run(app, ["download", "ptb", "--rate", "100"]).exception)


SCRIPT = """
import sys
from dataclasses import replace
from data_modules import publishers
url, root = sys.argv[1:]
publishers.PUBLICATIONS["ptb"] = replace(
    publishers.PUBLICATIONS["ptb"], base=url + "db/", checksums=url + "db/SHA256SUMS.txt", num_records=4
)
from ecg_transfer.data_cli import app
sys.argv = ["data", "download", "ptb", "--root", root, "--connections", "1"]
app()
"""


@pytest.mark.slow
def test_ctrl_c_leaves_a_state_to_go_on_from(server: BadServer, tmp_path: Path) -> None:
    server.script[f"db/{NAMES[5]}"] = ["503 100"]
    command = [sys.executable, "-c", SCRIPT, server.url, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if any(path.endswith(NAMES[5]) for path, _ in server.requests):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, "the same command goes on" in errors) == (130, True), errors
    assert on_disk(tmp_path) == {name: FILES[name] for name in NAMES[:5]}
    server.requests.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(path for path, _ in server.requests) == sorted(f"db/{name}" for name in NAMES[5:])
    assert "ODC-By-1.0" in done.stdout
    assert "Bousseljot" in done.stdout
