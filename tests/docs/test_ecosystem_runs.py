"""What docs/ecosystem.md shows of other libraries runs as it stands there, but for its sizes."""

from __future__ import annotations

import re

import pytest

from .command_lines import FENCE, ROOT

SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "ecosystem.md").read_text(), re.M | re.S)
PROGRAMS = {title: [code for word, code in FENCE.findall(text) if word == "python"] for title, text in SECTIONS}
SMALL = {" 256)": " 4)", "num_envs=64": "num_envs=4", "1024": "64", "400_000": "64", "(100)": "(1)", "_99": "_0"}
"""What stands on the page, and its size here."""
LIBRARIES = {"Gymnasium": "gymnasium", "Stable-Baselines3": "stable_baselines3", "rsl_rl 5": "rsl_rl"}


def small(code: str) -> str:
    """The program at a size that takes seconds."""
    for asked, made in SMALL.items():
        code = code.replace(asked, made)
    return code


@pytest.mark.parametrize(("title", "library"), LIBRARIES.items())
def test_a_program_of_the_page_runs(title, library, tmp_path, monkeypatch):
    pytest.importorskip(library, reason=f"{library} is not installed: uv sync --group peers")
    monkeypatch.chdir(tmp_path)
    known = {}
    for code in PROGRAMS[title]:
        exec(small(code), known)
    known["env"].close() if title == "Gymnasium" else None
    written = {"Gymnasium": (), "Stable-Baselines3": ("policy.zip", "statistics.npz")}
    assert all((tmp_path / name).is_file() for name in written.get(title, ("logs/student/model_0.pt",)))


def test_every_program_of_the_page_is_run():
    assert {title for title, programs in PROGRAMS.items() if programs} == set(LIBRARIES)
