"""Where a result comes from: which commit, whether it is all of it, and which sources a figure depends on."""

import subprocess

import pytest

from handsight.distill.runs import provenance


def git(folder, *words):
    named = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *named, "-C", folder, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path.resolve()


def test_a_checkout_is_dirty_once_a_tracked_file_changed_or_a_new_one_appeared(checkout):
    clean = {"commit": git(checkout, "rev-parse", "HEAD").strip(), "dirty": False}
    assert provenance.git_commit(checkout) == clean
    (checkout / "b.py").write_text("new\n")
    assert provenance.git_commit(checkout) == clean | {"dirty": True}
    (checkout / "b.py").unlink()
    (checkout / "a.py").write_text("2\n")
    assert provenance.git_commit(checkout) == clean | {"dirty": True}


def test_a_commit_of_somebody_elses_repository_is_not_ours(checkout, tmp_path_factory):
    (checkout / "inside").mkdir()
    assert provenance.git_commit(checkout / "inside") is None
    assert provenance.git_commit(tmp_path_factory.mktemp("nowhere")) is None


@pytest.mark.parametrize("place", ["", *provenance.ROOMS, "sims/engines"])
def test_figures_depend_on_every_module_of_the_package(place, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "distill" / "runs" / "provenance.py"))
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    digests = {provenance.sources_digest()}
    for text in ("a = 1\n", "a = 2\n"):
        (tmp_path / place / "new.py").write_text(text)
        digests.add(provenance.sources_digest())
    (tmp_path / place / "new.py").rename(tmp_path / place / "renamed.py")
    assert len(digests | {provenance.sources_digest()}) == 4
