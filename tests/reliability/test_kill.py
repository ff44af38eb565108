"""kill -9 at any moment of saving leaves only checkpoints that are whole."""

import json
import subprocess
import sys
import textwrap

KILLS = 30
WRITER = """
    import json, os, random, signal, sys, time, warnings
    from pathlib import Path
    import torch
    from handsight.distill.runs import checkpoint

    warnings.simplefilter("ignore")
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    draws = random.Random(0)
    seen = {"cut_short": 0, "checked": 0}

    def save_for_ever(first):
        for number in range(first, first + 1000):
            tree = {"number": number, "blob": torch.full((200_000,), float(number)), "words": ["x"] * number}
            checkpoint.save(folder / f"iteration_{number:06d}.ckpt", tree)
            checkpoint.save(folder / "best.ckpt", tree)
            checkpoint.keep_last(folder, 2, "iteration_*.ckpt")

    def check(path):
        tree = checkpoint.load(path)
        assert tree["blob"].eq(tree["number"]).all() and len(tree["words"]) == tree["number"], path
        seen["checked"] += 1
        return tree["number"]

    number = best = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            save_for_ever(number + 1)
            os._exit(0)
        time.sleep(draws.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen["cut_short"] += bool(list(folder.glob(".*.tmp")) + list(folder.glob(".*.previous")))
        if list(folder.glob("iteration_*.ckpt")):
            newest = check(checkpoint.latest(folder, "iteration_*.ckpt"))
            assert newest >= number, (newest, number)
            number = newest
            assert check(folder / f"iteration_{number:06d}.ckpt") == number
        if (folder / "best.ckpt").exists() or (folder / ".best.ckpt.previous").exists():
            now = check(folder / "best.ckpt")
            assert now >= best, (now, best)
            best = now
        assert best == 0 or (folder / "best.ckpt").exists() or (folder / ".best.ckpt.previous").exists()
        for path in folder.glob("iteration_*.ckpt"):
            check(path)
    checkpoint.save(folder / "best.ckpt", {})
    seen["left"] = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    seen["number"] = number
    print(json.dumps(seen))
"""


def test_kill_while_saving_never_leaves_a_wrong_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(KILLS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["cut_short"] >= KILLS // 4, "too few kills fell into a save to say anything"
    assert seen["number"] >= 10
    assert seen["left"] == [], "what killed writers leave is swept by the next"
