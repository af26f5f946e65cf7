"""The study on a Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecg_transfer.study.definition import Grid, Study
from ecg_transfer.study.plan import make_plan
from ecg_transfer.study.schedule import execute
from ecg_transfer.study.worker import Outcome

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
ray = pytest.importorskip("ray", reason="needs the extra: pip install 'ecg-transfer[ray]'")


@pytest.mark.slow
def test_a_node_killed_in_the_middle_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    from ecg_transfer.study.ray_engine import RayPool

    root, here = Path(__file__).parents[3], Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(here)]))
    grid = Grid(upstreams=["cpsc2018"], downstreams=["ptb"], seeds=[0, 1, 2])
    plan = make_plan(Study(name="s", overrides={"data.source": "simulated"}, grids=[grid]), tmp_path)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)

    class OneNodeDies(RayPool):
        """Kills the second node once runs have started on both; they last longer than a worker takes to start."""

        def wait(self, timeout: float) -> list[Outcome]:
            log = tmp_path / "calls.log"
            started = log.read_text().splitlines() if log.exists() else []
            workers = {line.split()[2] for line in started if line.startswith("start")}
            if len(cluster.worker_nodes) == 1 and len(workers) == 2 and self._running:
                cluster.remove_node(second, allow_graceful=False)
            return super().wait(timeout)

    sentences: list[str] = []
    try:
        pool = OneNodeDies(
            runner="fake_runner:run_fake",
            environment={"FAKE_SECONDS": "5.0", "PYTHONPATH": os.environ["PYTHONPATH"]},
        )
        summary = execute(plan, pool, patience=0.2, report=sentences.append)
        pool.close()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert not cluster.worker_nodes
    names = sorted(planned.name for planned in plan.runs)
    assert sorted(summary.done) == names, (summary, sentences)
    assert not summary.failed
    finished = [line.split()[1] for line in (tmp_path / "calls.log").read_text().splitlines() if "finish" in line]
    assert sorted(finished) == names, "every run was finished once"
    assert any("attempt 2" in sentence for sentence in sentences), "the killed node's run was tried again"


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "gpus"), [(100_000, 0.0), (1, 1000.0)])
def test_a_machine_without_room_for_a_run_is_told_so(threads: int, gpus: float) -> None:
    """The study waited for ever, without a word."""
    from ecg_transfer.study.ray_engine import RayPool

    with pytest.raises(ValueError, match=rf"has {threads} cores and {gpus:g} GPUs for a run: with fewer --threads"):
        RayPool(num_threads=threads, num_gpus=gpus)
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_running_cluster_may_grow(recwarn: pytest.WarningsRecorder) -> None:
    from ecg_transfer.study.ray_engine import RayPool

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        RayPool(address="auto", num_threads=1).close()
        assert not [one for one in recwarn if "Ray cluster" in str(one.message)]
        with pytest.warns(UserWarning, match=r"no machine of the Ray cluster \(1 cores, 0 GPUs\) has 2 cores and 0"):
            RayPool(address="auto", num_threads=2).close()
    finally:
        ray.shutdown()
