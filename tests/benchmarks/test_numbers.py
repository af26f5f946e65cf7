"""The benchmark's statistics, its judgement of the machine, its files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import command, quiet
from experiments.benchmarks.machine import describe, is_same, short_name
from experiments.benchmarks.options import Block, Options, all_blocks, chosen_blocks
from experiments.benchmarks.quiet import Reading, Watch, judge
from experiments.benchmarks.result import Result, read_result, rows_before, saved_results
from experiments.benchmarks.row import Row, change, number, ratios
from experiments.benchmarks.table import BEGIN, END, write_page

STEADY = (0.010,) * 25


def row(*repeats: float, **fields: Any) -> Row:  # noqa: ANN401
    return Row(**{"group": "step", "name": "lstm", "unit": "x", "repeats": repeats, **fields})


def reading(**fields: Any) -> Reading:  # noqa: ANN401
    return Reading(**{"when": "x", "load": 0.0, "others": 0.0, "stolen": 0.0, "calibration": STEADY, **fields})


def result(date: str = "2026-01-01T10:00:00", *rows: Row, cores: int = 2, **fields: Any) -> Result:  # noqa: ANN401
    machine = describe(2, []) | {"cores": cores}
    content = {"command": "bench", "machine": machine, "seen": (), "readings": (), "failed": {}, **fields}
    return Result(date=date, rows=rows, **content)


def test_a_disturbed_round_disturbs_no_ratio() -> None:
    theirs, ours = [4.0, 40.0, 4.4], [1.0, 10.0, 1.1]
    assert ratios(theirs, ours) == pytest.approx([4.0, 4.0, 4.0])
    with pytest.raises(ValueError, match="zip"):
        ratios(theirs, ours[:2])


def test_median_spread_and_goal_of_a_row() -> None:
    assert (row(3, 9, 4).median, row(3, 9, 4, 5).median) == (4, 4.5)
    assert row(3, 9, 4).spread == (3, 9)
    assert row(3, 9, 4, goal=4).meets_goal is True
    assert row(3, 9, 4, goal=4.1).meets_goal is False
    assert row(3, 9, 4, goal=4.1, better="lower").meets_goal is True
    assert row(3).meets_goal is None
    assert [number(row(value, unit=unit)) for value, unit in [(4.321, "x"), (0.1234, "s"), (1234.5, "MB")]] == [
        "4.32x",
        "0.123 s",
        "1,234 MB",
    ]


def test_only_what_lies_beyond_both_spreads_is_a_change() -> None:
    assert change(row(2, 3, 4), row(4, 5, 6)) == ""
    assert change(row(2, 3, 3.9), row(4, 5, 6)) == "worse: 5x -> 3x"
    assert change(row(7, 8, 9), row(4, 5, 6)) == "better: 5x -> 8x"
    assert change(row(7, 8, 9, better="lower"), row(4, 5, 6)) == "worse: 5x -> 8x"


@pytest.mark.parametrize(("num_repeats", "chance"), [(3, 1 / 10), (5, 1 / 126)])
def test_how_often_equals_are_called_changed(num_repeats: int, chance: float) -> None:
    every = range(2 * num_repeats)
    picks = list(combinations(every, num_repeats))
    changed = [change(row(*pick), row(*set(every) - set(pick))) != "" for pick in picks]
    assert np.mean(changed) == pytest.approx(chance)


def test_a_quiet_machine_is_called_quiet() -> None:
    readings = [reading(when="before", load=0.2), reading(load=2.1, others=0.02, calibration=(0.011,) * 25)]
    assert judge(readings, cores=2) == []


@pytest.mark.parametrize(
    ("first", "later", "clause"),
    [
        ({"load": 1.0}, {}, "load average 1 on 2 cores before the start"),
        ({"others": None}, {}, "not known on this system"),
        ({"others": 0.5}, {}, "before: other processes took 50% of the cores"),
        ({}, {"others": 0.5}, "during: other processes took 50% of the cores"),
        ({}, {"stolen": 0.1}, "during: the host took 10% of the cores"),
        ({}, {"calibration": (0.01,) * 20 + (0.02,) * 5}, "during: equal matrix products took 10.0 to 20.0 ms"),
        ({}, {"calibration": (0.013,) * 25}, "between blocks equal matrix products took 10.0 to 13.0 ms"),
    ],
)
def test_each_witness_can_speak_against_it(first: dict[str, Any], later: dict[str, Any], clause: str) -> None:
    seen = judge([reading(when="before", **first), reading(when="during", **later)], cores=2)
    assert len(seen) == 1
    assert clause in seen[0]


def test_others_are_what_is_neither_ours_nor_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter(
        quiet._Clock(wall=wall, busy=busy, stolen=stolen, ours=ours)
        for wall, busy, stolen, ours in [(0, 50, 1, 5), (1, 50, 1, 5), (1, 50, 1, 5), (11, 66, 2, 17), (11, 66, 2, 17)]
    )
    monkeypatch.setattr(quiet, "_clock", lambda: next(clocks))
    monkeypatch.setattr(quiet, "calibrate", lambda num_products=1: STEADY)
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 2)
    watch = Watch(seconds=0.0)
    watch.note("during")
    assert [(seen.others, seen.stolen) for seen in watch.readings] == [(0.0, 0.0), (0.2, 0.05)]


def test_the_clock_counts_our_own_work() -> None:
    before = quiet._clock()
    quiet.calibrate(40)
    after = quiet._clock()
    assert after.ours > before.ours
    if before.busy is not None and after.busy is not None:
        assert after.busy - before.busy >= after.ours - before.ours - 0.1  # ticks of 10 ms on each core


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    written = result("2026-01-01T10:00:00", row(1.5, 2.5, goal=2.0), seen=("load average 3",), failed={"study": "why"})
    path = written.save(tmp_path)
    assert read_result(path) == written
    assert '"quiet": false' in path.read_text()
    assert path.name == f"{short_name(written.machine)}-2026-01-01T100000.json"
    assert written.save(tmp_path).name == f"{short_name(written.machine)}-2026-01-01T100000-2.json"
    assert len(saved_results(tmp_path)) == 2


def test_rows_are_compared_with_the_last_of_the_same_machine(tmp_path: Path) -> None:
    result("2026-01-01T10:00:00", row(1), row(5, name="gru")).save(tmp_path)
    result("2026-01-03T10:00:00", row(3), cores=64).save(tmp_path)
    result("2026-01-02T10:00:00", row(2)).save(tmp_path)
    now = result("2026-01-04T10:00:00")
    before = rows_before(now.machine, saved_results(tmp_path))
    assert {name: (old.median, saved.date[:10]) for (_, name), (old, saved) in before.items()} == {
        "lstm": (2, "2026-01-02"),
        "gru": (5, "2026-01-01"),
    }
    assert not is_same(now.machine, now.machine | {"threads": 1})


def test_the_machine_tells_no_value_of_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hidden")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    described = describe(2, [])
    assert "hidden" not in str(described)
    assert described["settings"]["MALLOC_TRIM_THRESHOLD_"] == "4096"


def test_the_page_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write_page(result("2026-01-01T10:00:00", row(4, 5, 6, goal=4.3, note="n")), page)
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert "old" not in text
    assert "| step: lstm | 5x | 4-6 | 3 | at least 4.3: met | n |" in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        write_page(result(), page)


def test_the_page_passes_over_what_is_no_whole_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = result("2026-01-01T10:00:00", row(4, 5, 6), command="bench.py --full")
    later = [
        result("2026-01-02T10:00:00", row(1), command="bench.py --only 'step lstm 64'"),
        result("2026-01-03T10:00:00", row(2), command="bench.py --quick"),
        result("2026-01-04T10:00:00", row(3), command="bench.py", failed={"fit": command.STOPPED}),
    ]
    for each in (whole, *later):
        each.save(tmp_path)
    written: list[Result] = []
    monkeypatch.setattr(command, "write_page", written.append)
    command.bench(page=True, to=tmp_path)
    assert [each.date for each in written] == ["2026-01-01T10:00:00"]


def test_only_takes_groups_and_parts() -> None:
    found = all_blocks(Options(), has_gpu=False)
    assert chosen_blocks(found, None) == found
    assert chosen_blocks(found, "start help, fit") == [Block("fit", ""), Block("start", "help")]
    assert [block.name for block in chosen_blocks(found, "data")] == ["500", "5000", "20000"]
    assert not any(block.group == "gpu" for block in found)
    with pytest.raises(ValueError, match="nothing is called 'stpe' here"):
        chosen_blocks(found, "stpe,fit")
