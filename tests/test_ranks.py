"""Several processes: a file for each rank, whoever starts them, and the verdict once."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from launching import ROOT, environment

from gradpm.trace.model import Trace
from gradpm.trace.schema import Table

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("needs torch.distributed", allow_module_level=True)

TRAIN = """
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel


def work(rank, store):
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(dist.get_rank())
    for _ in range(3):
        loss = model(torch.randn(4, 3)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if dist.get_rank() == 0:
        print(loss.item().hex(), model.module.weight.sum().item().hex(), flush=True)
    dist.barrier()
    os._exit(0)  # torch's own good-bye sometimes aborts, with and without gradpm


if __name__ == "__main__":
    if "RANK" in os.environ:
        work(0, "")
    else:
        mp.spawn(work, (os.path.abspath("store"),), nprocs=2)
"""

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
GRADPM = (sys.executable, "-m", "gradpm", "run")


def run(words: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    env = environment(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=150)


def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launched(name: str) -> tuple[str, ...]:
    torchrun = (*TORCHRUN, "--master-port", port())
    return {
        "spawn": (*GRADPM, "train.py"),
        "in front": (*GRADPM, *torchrun, "train.py"),
        "behind": (sys.executable, *torchrun, "-m", "gradpm", "run", "train.py"),
    }[name]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    ran = run((sys.executable, "train.py"), tmp_path_factory.mktemp("plain") / "run")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
    return ran.stdout


@pytest.mark.parametrize("name", ["spawn", "in front", "behind"])
def test_each_rank_has_a_file_and_the_verdict_is_given_once(
    name: str, tmp_path: Path, plain: str
) -> None:
    folder = tmp_path / "run"
    ended = run(launched(name), folder)
    assert (ended.returncode, ended.stdout) == (0, plain), ended.stderr
    assert sorted(path.name for path in folder.glob("*.gpm")) == [
        "train.rank0.gpm", "train.rank1.gpm",
    ]  # fmt: skip
    for rank in (0, 1):
        trace = Trace(folder / f"train.rank{rank}.gpm")
        assert trace.meta["rank"] == rank
        assert trace.table(Table.BACKWARD).rows == 3
    assert sum("nothing wrong" in line for line in ended.stderr.splitlines()) == 1
