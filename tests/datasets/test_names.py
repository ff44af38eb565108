"""A folder of a checkout has the name of a package of Hugging Face's."""

import subprocess
import sys
from pathlib import Path

from handsight.distill.runs import provenance

ROOT = Path(provenance.__file__).parents[2]


def imported(tmp_path, *words):
    program = f"import sys; sys.path[1:1] = {[str(tmp_path)]!r}; {'; '.join(words)}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


def test_datasets_from_the_root_of_a_checkout_is_hugging_faces(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/__init__.py").write_text("from .inner import who")
    (tmp_path / "datasets/inner.py").write_text("who = 'theirs'")
    asked = imported(tmp_path, "import datasets.inner, handsight.datasets", "from datasets import who; print(who)",
                     "print(handsight.datasets.Shard.__name__)")  # fmt: skip
    assert asked.stdout.split() == ["theirs", "Shard"], asked.stderr


def test_without_theirs_nothing_is_taken_for_it(tmp_path):
    asked = imported(
        tmp_path, "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]", "import datasets"
    )
    assert "No module named 'datasets'" in asked.stderr
