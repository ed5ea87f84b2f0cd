"""Several processes: real ones, over gloo on this machine."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo"
)

WORKER = Path(__file__).parent / "distributed_worker.py"
PAGE = Path(__file__).parents[2] / "docs" / "deeper" / "distributed.md"
EXACT = [
    "equal",
    "samples",
    "clipped",
    "micro-batches",
    "second-ends-early",
    "first-ends-early",
    "first-has-none",
    "views",
    "conditional",
    "conditional-uneven",
    "conditional-uneven-first",
]
TIMEOUT = 120


def environment(**more: str) -> dict[str, str]:
    """Keep to one thread a process, and to the loopback device where its name is known."""
    own = {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        own["GLOO_SOCKET_IFNAME"] = "lo"
    return {**os.environ, **own, **more}


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Start two processes as the manual of torch says."""
    with tempfile.TemporaryDirectory() as logs:
        return subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--log-dir", logs),
                *("--standalone", "--nproc-per-node", "2", *map(str, arguments)),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=environment(),
        )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Run every case once; a dict of the cases for each process."""
    folder = tmp_path_factory.mktemp("distributed")
    done = torchrun(WORKER, folder, *EXACT, "flush", "fit", "resume")
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank-{n}.json").read_text(encoding="utf-8")) for n in range(2)]


@pytest.mark.parametrize("case", EXACT)
def test_two_processes_equal_one(results: list[dict[str, Any]], case: str) -> None:
    """Whatever each has of samples and micro-batches, the steps are those of the joined data."""
    for result in results:
        many, one = result[case]["steps"]
        assert many == one > 0
        assert result[case]["difference"] < 1e-12


@pytest.mark.parametrize("case", EXACT)
def test_gradients_are_exchanged_once_a_step(results: list[dict[str, Any]], case: str) -> None:
    """No exchange for the micro-batches within a window, even or not."""
    for result in results:
        assert result[case]["exchanges"] == result[case]["steps"][0]


def test_flush_joins_windows_that_were_left_at_different_places(
    results: list[dict[str, Any]],
) -> None:
    """After a break, one process with 1 and one with 2 micro-batches step as one with all 3."""
    assert [result["flush"]["pending"] for result in results] == [1, 2]
    assert all(result["flush"]["difference"] < 1e-12 for result in results)


def test_fit_in_two_processes_equals_a_loop_in_one(results: list[dict[str, Any]]) -> None:
    """Weights, validation loss and metric are those of the joined data, in both processes."""
    first, second = (result["fit"] for result in results)
    assert first["history"] == second["history"]
    assert first["history"]["steps"] == [2, 2, 2]
    for one in (first, second):
        assert one["difference"] < 1e-12
        assert one["worst"] < 1e-12


def test_only_the_first_process_writes(results: list[dict[str, Any]]) -> None:
    """A checkpoint after each epoch, with plain weights that both processes have."""
    first, second = (result["fit"] for result in results)
    assert first["written"] == ["many.pt"] * 3
    assert second["written"] == []
    assert first["plain"]
    assert second["plain"]


def test_a_resumed_run_of_two_processes_is_equal_bit_for_bit(
    results: list[dict[str, Any]],
) -> None:
    """Each process gets its own random states back, so dropout and order go on as before."""
    assert all(result["resume"]["equal"] for result in results)
    assert results[0]["resume"]["drawn"] != results[1]["resume"]["drawn"]


def test_a_killed_process_ends_the_run(tmp_path: Path) -> None:
    """Under torchrun: an error code and the signal in the report, not a hang."""
    done = torchrun(WORKER, tmp_path, "killed")
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr


def test_the_other_process_says_what_happened(tmp_path: Path) -> None:
    """Without torchrun to end it, the survivor stops by itself, with a note that can be read."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(tmp_path), "killed"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
        )
        for rank in ("0", "1")
    ]
    try:
        survivor, killed = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 1
    assert processes[1].returncode == -9, killed
    assert "RuntimeError" in survivor
    assert "process 0 of 2: another process of this run has ended" in survivor


def accuracy(output: str) -> float:
    """Read the last line of the example."""
    found = re.search(r"accuracy on the held-out digits: ([\d.]+)%", output)
    assert found, output
    return float(found[1])


def example(folder: Path) -> Path:
    """Write the program that the page writes."""
    found = re.search(r'TRAIN_DIGITS = """\n(.+?)"""', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    path = folder / "train_digits.py"
    path.write_text(found[1], encoding="utf-8")
    return path


@pytest.mark.parametrize("several", [False, True], ids=["one", "torchrun"])
def test_the_example_reads_digits(tmp_path: Path, several: bool) -> None:
    """Alone and under torchrun: at least 97 % right, printed once; a second start has it all."""
    pytest.importorskip("sklearn")
    path = tmp_path / "digits.pt"
    options = [example(tmp_path), 10, path]
    if several:
        done = torchrun(*options)
    else:
        done = subprocess.run(
            [sys.executable, *map(str, options)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=environment(),
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy on") == 1
    assert accuracy(done.stdout) >= 97
    assert path.exists()
