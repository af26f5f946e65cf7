"""What leaves this machine, or lets somebody in: values of the environment in outputs, and what listens where."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ecg_transfer.tiny_backbone import NAME

ROOT = Path(__file__).parents[1]
CANARY = "canary-7f3a91c2e5"


@pytest.mark.slow
def test_no_value_of_the_environment_is_in_any_output(tmp_path: Path) -> None:
    """A study of one small run with its report, and errors, in processes whose environment holds secrets."""
    overrides = {
        "data.source": "simulated",
        "data.num_simulated": 60,
        "data.root": str(tmp_path / "data"),
        "optim.max_epochs": 1,
        "optim.batch_size": 16,
        "trainer.accelerator": "cpu",
    }
    grid = {"downstreams": ["ptb"], "backbones": [NAME], "starts": ["scratch"]}
    study = {"name": "canary", "overrides": overrides, "grids": [grid]}
    (tmp_path / "canary.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "hostile.yaml").write_text(yaml.safe_dump(study | {"name": "${oc.env:ECG_TEST_TOKEN}"}))
    names = ("ECG_TEST_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY")
    secrets = {name: f"{CANARY}-{name}" for name in names}
    environment = os.environ | secrets | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ecg_transfer", *arguments, "--output", "runs"]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    said = [
        run("study", "run", "canary.yaml"),
        run("study", "report", "canary.yaml"),
        run("study", "run", "hostile.yaml"),
        run("scratch", "ptb", "data.root=${oc.env:ECG_TEST_TOKEN}"),
    ]
    assert [process.returncode for process in said] == [0, 0, 1, 1], [process.stderr for process in said]
    assert len(sorted((tmp_path / "runs").rglob("DONE"))) == 1
    written = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert any(path.name.startswith("events.out.tfevents") for path in written)
    assert any(path.suffix == ".html" for path in written)
    texts = [path.read_bytes().decode("latin-1") for path in written]
    assert not [text for text in texts if CANARY in text]
    assert not [process.args for process in said if CANARY in process.stdout + process.stderr]


def test_what_listens_is_reached_from_this_machine_alone() -> None:
    recipe = (ROOT / "Makefile").read_text().split("tensorboard:")[1].split("\n\n")[0]
    assert "--host 127.0.0.1" in recipe
    listening = re.compile(
        r"http\.server|socketserver|\.listen\(|\bbind\(|bind_all|0\.0\.0\.0|uvicorn|flask", re.IGNORECASE
    )
    folders = ("data_modules", "ecg_transfer", "experiments")
    ours = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert ours
    assert [path.name for path in ours if listening.search(path.read_text(encoding="utf-8"))] == []


STRANGER = """
import ray, sys
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
    print("let in", ray.get(ray.remote(lambda: 7).remote(), timeout=30))
except Exception as error:
    print("refused", type(error).__name__)
"""


NEIGHBOUR = """
from ray.cluster_utils import Cluster  # as `ray start --head` does
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
input()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_ray_cluster_of_ones_own_takes_work_from_nobody_else(tmp_path: Path) -> None:
    """Ray listens on all networks; what keeps strangers out is the token that a cluster of one's own has by default.

    Another one's open cluster, which runs on this machine already, is not joined.
    """
    pytest.importorskip("ray", reason="needs the extra: pip install 'ecg-transfer[ray]'")
    program = (
        "import os, subprocess, sys, ray\n"
        "from ecg_transfer.study.ray_engine import RayPool\n"
        "pool = RayPool(num_workers=1)\n"
        "stranger = {**os.environ, 'RAY_AUTH_MODE': 'disabled'}\n"
        "address = ray.get_runtime_context().gcs_address\n"
        "assert address != sys.argv[2], 'it has joined the neighbour'\n"
        "command = [sys.executable, '-c', sys.argv[1], address]\n"
        "print(subprocess.run(command, env=stranger, capture_output=True, text=True, timeout=200).stdout)\n"
        "pool.close()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    neighbour = subprocess.Popen(
        [sys.executable, "-c", NEIGHBOUR],
        env={**environment, "RAY_AUTH_MODE": "disabled"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert neighbour.stdout is not None
    command = [sys.executable, "-c", program, STRANGER, neighbour.stdout.readline().strip()]
    for _ in range(3):  # on a busy machine Ray's own processes give each other up before the cluster is there
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
        if said.stdout:
            break
    neighbour.communicate("\n", timeout=100)
    assert "refused" in said.stdout, said.stdout + said.stderr
    assert "let in" not in said.stdout
