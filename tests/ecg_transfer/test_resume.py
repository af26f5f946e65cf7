"""From which state a run goes on, whatever a kill or a bad disk has left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_modules.unfinished import beside
from ecg_transfer.checkpoint_file import write_checkpoint
from ecg_transfer.resume import FILES, LAST, PREVIOUS, carried, newest_state, recover

FIRST, SECOND = b'{"epoch": 0}\n', b'{"epoch": 0}\n{"epoch": 1}\n'
MANIFEST = b'{"attempts": [1]}'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the states of two epochs, each with the files as they were with it."""
    (tmp_path / "manifest.json").write_bytes(MANIFEST)
    for epoch, (curve, best) in enumerate(((FIRST, b"best of 0"), (SECOND, b"best of 1"))):
        (tmp_path / "metrics.jsonl").write_bytes(curve)
        (tmp_path / "best.ckpt").write_bytes(best)
        (tmp_path / "predictions.npz").write_bytes(b"logits of %d" % epoch)
        state = {"epoch": epoch, FILES: carried(tmp_path)}
        write_checkpoint(state, tmp_path / LAST, previous=tmp_path / PREVIOUS)
    return tmp_path


def growing(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("metrics.jsonl", "predictions.npz", "best.ckpt")]


def test_everything_is_put_back_to_the_instant_of_the_state(run: Path) -> None:
    with (run / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"epoch": 2}\n{"epoch": 3, "upda')
    (run / "best.ckpt").write_bytes(b"of an epoch that is forgotten")
    (run / "predictions.npz").unlink()
    (run / "manifest.json").write_bytes(MANIFEST[:7])
    beside(run / LAST).write_bytes(b"half")
    beside(run / LAST).rename(run / ".last.ckpt.elsewhere.999999999.tmp")
    state, said = recover(run)
    assert (state, said) == (run / LAST, [])
    assert growing(run) == [SECOND, b"logits of 1", b"best of 1"]
    assert (run / "manifest.json").read_bytes() == MANIFEST


def test_a_readable_manifest_is_left_alone(run: Path) -> None:
    (run / "manifest.json").write_text('{"attempts": [1, 2]}')
    recover(run)
    assert (run / "manifest.json").read_text() == '{"attempts": [1, 2]}'


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_state_is_named_and_the_one_before_is_used(run: Path, damage: str) -> None:
    content = bytearray((run / LAST).read_bytes())
    content[len(content) // 2] ^= 4
    (run / LAST).write_bytes({"cut": content[:-9], "changed": content, "empty": b""}[damage])
    assert newest_state(run)[0] == run / PREVIOUS
    state, said = recover(run)
    assert state == run / PREVIOUS
    assert said == [
        f"{run / LAST} is torn or damaged: it is not used",
        "the run goes on from the state before it, last.previous.ckpt",
    ]
    assert growing(run) == [FIRST, b"logits of 0", b"best of 0"]
    assert not (run / LAST).exists(), "or it would take the good one's place at the next save"
    write_checkpoint({"epoch": 1, FILES: carried(run)}, run / LAST, previous=run / PREVIOUS)
    assert torch.load(run / PREVIOUS, weights_only=True)["epoch"] == 0


def test_a_kill_between_two_renames_needs_no_word(run: Path) -> None:
    (run / LAST).unlink()
    assert recover(run) == (run / PREVIOUS, [])
    assert growing(run) == [FIRST, b"logits of 0", b"best of 0"]


def test_without_a_whole_state_the_run_begins_anew_and_says_so(run: Path) -> None:
    for name in (LAST, PREVIOUS):
        (run / name).write_bytes(b"")
    state, said = recover(run)
    assert state is None
    assert said[-1] == "no state of this run is left: it begins anew"
    assert len(said) == 3
    assert not list(run.glob("last*"))
    assert recover(run) == (None, [])
