"""A disk that is full, or must not be written to: mounted for real, in a namespace of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handsight.files import FULL

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def mounted(options: str, place: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python where `place` is mounted as `options` say."""
    place.mkdir(exist_ok=True)
    words = ["unshare", "-rm", "sh", "-c", f'mount {options} "$0" && exec "$1" -c "$2"', place, sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, env=ENV, timeout=120, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    return done


WRITERS = {
    "shard": "from shards import FACTS, episode; from handsight.datasets import write_shard\n"
    "write_shard(out / 's_0.hdf5', FACTS, (episode(k, steps=36, size=32) for k in range(40)), {})",
    "checkpoint": "import torch; from handsight.distill.runs import checkpoint\n"
    "checkpoint.save(out / 'a.ckpt', {'x': torch.rand(10**6)})",
    "arrays": "import numpy as np; from handsight.files import write_arrays\n"
    "write_arrays(out / 'a.npz', {'x': np.random.rand(10**6)})",
    "text": "from handsight.files import write\nwrite(out / 'a.json', 'x' * 10**7)",
    "LeRobot dataset": "from shards import write; from handsight.datasets.lerobot import write_lerobot\n"
    "write_lerobot(write(out.with_name('data'), shards=1, episodes=60, steps=36, size=32), out / 'a', 'x', 0)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_with_the_file_and_nothing_half_written_stays(writer, tmp_path):
    place = tmp_path / "small"
    code = f"""
from pathlib import Path
out = Path({str(place)!r})
(out / "before").write_text("kept")
try:
    exec({WRITERS[writer]!r})
except OSError as error:
    print(error.errno, error)
print(sorted(path.name for path in out.iterdir()))
"""
    done = mounted("-t tmpfs -o size=1m tmpfs", place, code)
    said, left = done.stdout.strip().rsplit("\n", 1) if "\n" in done.stdout.strip() else (done.stdout, done.stderr)
    assert said.startswith("28 [Errno 28] No space left on device, while this was written"), done.stderr
    assert str(place) in said and "\n" not in said and left == "['before']"


def test_the_command_line_says_how_to_go_on(monkeypatch, capsys):
    from handsight.distill.commands import cli

    def full(words):
        raise OSError(FULL[0], "No space left on device", "runs/a")

    monkeypatch.setattr(cli, "_run", full)
    for command, way in (("train-student", "--resume RUN"), ("record", "the same command"), ("video", None)):
        assert cli.main([command]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"handsight {command}: [Errno 28] No space left on device: 'runs/a'")
        assert said.count("\n") == 1 and (f"once there is room, {way} goes on" in said) == bool(way)


def test_a_run_that_cannot_be_written_is_told_before_the_first_episode_and_compared_elsewhere(tmp_path):
    code = f"""
import os, shutil, subprocess, sys
from pathlib import Path
from handsight.distill.commands.cli import main
from handsight.distill.runs.zoo import FOLDER
run, out = Path({str(tmp_path / "ro")!r}), Path({str(tmp_path / "elsewhere")!r})
shutil.copytree(FOLDER / "state", run, dirs_exist_ok=True)
subprocess.run(["mount", "-o", "remount,ro", str(run)], check=True)
few = ["--episodes", "2", "--num-envs", "2"]
for words in (["evaluate", str(run), *few], ["video", str(run)], ["export", str(run), "--onnx"],
              ["evaluate", str(run), *few, "--out", str(run / "x")]):
    print(main(words))
print(main(["compare", str(run), *few, "--out", str(out), "--no-videos", "--no-report"]))
print(main(["compare", str(run), *few, "--out", str(out), "--no-videos", "--no-report"]))
print(len(list((out / "evaluations").iterdir())))
"""
    done = mounted("-t tmpfs -o size=50m tmpfs", tmp_path / "ro", code)
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == ["2", "2", "2", "2", "0", "0", "1"], done.stderr
    assert done.stderr.count("cannot be written; expected a place that can be: give another --out") == 4
    assert "Evaluate zoo" not in done.stderr and "Traceback" not in done.stderr
