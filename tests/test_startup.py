"""What help and an import may load, and what stands in the environment before torch is loaded."""

import json
import os
import subprocess
import sys

import pytest

from handsight import sims
from handsight.distill.commands import cli

HELP_KNOWS_NOT = ("torch", "mujoco", "timm", "lightning", "scipy", "kornia", "tensordict", "torchvision", "sympy")
SIMS_KNOW_NOT = ("torchvision", "timm", "lightning", "scipy", "kornia")
MADE = "from handsight.sims import EnvConfig, make; make(EnvConfig(), ('stereo',), 1)"
HELP = f"""
import contextlib, io, json, sys
from handsight.distill.commands import cli
found = {{}}
for name in cli.COMMANDS:
    words = [name, *(["state"] if name == "train-teacher" else []), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        cli.main(words)
    assert "options" in shown.getvalue(), shown.getvalue()
    found[name] = [module for module in {HELP_KNOWS_NOT} if module in sys.modules]
print(json.dumps(found))
"""


def python(program, **environment):
    """Standard output and error of a program in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_the_help_of_no_command_loads_torch_or_mujoco():
    found = json.loads(python(HELP)[0])
    assert found == {name: [] for name in cli.COMMANDS}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import handsight.sims", (*SIMS_KNOW_NOT, "sympy", "gymnasium", "pydantic", "numpy", "torch")),
        ("from handsight.sims import *", SIMS_KNOW_NOT),  # tensordict asks torch._dynamo for sympy
        (MADE, (*SIMS_KNOW_NOT, "mujoco_warp")),  # whose import alone takes seconds, in every simulator process
    ],
)
def test_the_environments_load_nothing_of_the_students_or_the_learner(statement, forbidden):
    found = json.loads(python(f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")[0])
    assert not set(forbidden) & set(found)


@pytest.mark.parametrize(
    "order", ["import gymnasium\nimport handsight.sims", "import handsight.sims\nimport gymnasium"]
)
def test_tasks_are_registered_in_whatever_order_gymnasium_is_imported(order):
    found = "print(sorted(name for name in gymnasium.registry if name.startswith('handsight')))"
    assert python(f"{order}\n{found}")[0] == "['handsight/Carry-v0', 'handsight/Grasp-v0']\n"


def test_a_public_name_wins_over_the_module_of_that_name():
    program = "import handsight.sims.make\nprint(handsight.sims.make.__name__, handsight.sims.make.__class__)"
    assert python(program)[0] == "make <class 'function'>\n"


def test_a_package_lists_its_names_and_says_them_to_who_asks_for_another():
    assert {"EnvConfig", "make"} <= set(dir(sims)) and "make" in sims.__all__
    with pytest.raises(AttributeError, match=r"module 'handsight.sims' has no attribute 'mace'; available: .*make"):
        sims.mace  # noqa: B018


def test_waiting_threads_are_passive_before_torch_is_loaded():
    program = "import handsight, os; print(os.environ['OMP_WAIT_POLICY'])"
    assert python(program) == ("PASSIVE\n", "")
    assert python(program, OMP_WAIT_POLICY="ACTIVE") == ("ACTIVE\n", "")


def test_torch_before_handsight_is_warned_of_once():
    program = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\nimport handsight\nimport handsight.sims"
    )
    assert python(program)[1].count("import handsight first, or set OMP_WAIT_POLICY=PASSIVE") == 1
    assert python(program, OMP_WAIT_POLICY="PASSIVE") == ("", "")
