"""The reference's pages say what the parsers and the packages say."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields

import pytest

from handsight import datasets, distill, policies, sims, students, teachers
from handsight.distill import TeacherConfig
from handsight.distill.commands import cli
from handsight.distill.commands.arguments import EvaluateArgs

from .command_lines import ROOT


@pytest.fixture(scope="module")
def pages():
    """Markdown of each page, by its path below docs/."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "hooks" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.pages())


def test_every_command_has_a_page_and_stands_in_the_overview(pages):
    for name, command in cli.COMMANDS.items():
        place = name.replace(" ", "-")
        assert pages[f"reference/commands/{place}.md"].startswith(f"# handsight {name}\n")
        assert f"[`{name}`]({place}.md) | {command.about.partition('|')[0]}" in pages["reference/commands/index.md"]


def test_a_page_has_every_option_with_its_default_and_what_it_means(pages):
    page = pages["reference/commands/evaluate.md"]
    assert "`--episodes INT` default `512`\n:   Resets to start from, one episode each.\n" in page
    for option in (one.name.replace("_", "-") for one in fields(EvaluateArgs) if one.name != "policy"):
        assert f"`--{option}" in page
    assert "`RUN` **required**" in page and "--help" not in page


def test_the_depth_teacher_has_the_options_that_differ(pages):
    page = pages["reference/commands/train-teacher.md"]
    state, depth = page.split("## depth")
    assert "`--ppo.epochs INT` default" in state
    assert f"`--ppo.epochs INT` default `{TeacherConfig.depth().ppo.epochs}`" in depth
    assert "`--num-envs INT`" in state and "`--num-envs INT`" not in depth
    assert re.search(r"### `--env\.scene\.rig\.\*`\n", state)


def test_a_student_is_shown_with_its_teachers_environments(pages):
    page = pages["reference/commands/train-student.md"]
    assert "--teacher zoo:depth" in page and "`--env.scene.rig.height INT`" in page


@pytest.mark.parametrize(
    "package", [sims, policies, teachers, students, datasets, distill], ids=lambda one: one.__name__
)
def test_a_package_shows_all_of_its_public_names(package, pages):
    page = pages[f"reference/{package.__name__.rpartition('.')[2]}.md"]
    assert re.findall(r"^::: (.*)$", page, re.M) == [f"{package.__name__}.{public}" for public in package.__all__]
