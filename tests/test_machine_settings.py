"""No setting of the user's machine gets into an artefact: every field that sounds like one is marked or explained."""

import ast
import re

import pytest

from .test_architecture import SOURCES, _configs, _name

OF_A_MACHINE = re.compile(
    r"(.*_)?(python|address|host|port|devices?|threads|workers|sims|learner|spares|timeout|jobs|ranks|runs|out)"
)
"""Names of what a machine has and an experiment has not."""
READ_ONLY = "data that are read as a checkpoint or as shards and never written; a resume says that they are read"
SAVED_FIELDS = {
    "TeacherConfig.warm_start": READ_ONLY,
    "StudentRunConfig.teacher": READ_ONLY,
    "StudentRunConfig.driver": READ_ONLY,
    "StudentRunConfig.data": READ_ONLY,
    "TeacherConfig.ranks": "decides what is learnt: the sum of gradients, and which worlds lie in which checkpoint",
    "StudyConfig.jobs": "how many cells side by side, never more than there are cores",
    "TrialConfig.device": "in no artefact: made anew for every evaluation",
    "FootprintConfig.learner": "bytes",
}
"""Fields of configurations that sound like a machine's settings and are saved all the same, each with its reason."""


def _is_marked(field: ast.AnnAssign) -> bool:
    """Whether it is `= machine(...)` or `= field(..., metadata=MACHINE)`."""
    words = {node.id for node in ast.walk(field.value) if isinstance(node, ast.Name)} if field.value else set()
    return bool(words & {"machine", "MACHINE"})


@pytest.mark.parametrize("path", [path for path in SOURCES if any(_configs(path))], ids=_name)
def test_settings_of_a_machine_are_marked_so_that_no_artefact_holds_them(path):
    unmarked = [
        f"{config.name}.{ast.unparse(field.target)} (line {field.lineno})"
        for config in _configs(path)
        if config.name.endswith("Config")  # Args are a command line: nobody saves them
        for field in config.body
        if isinstance(field, ast.AnnAssign)
        and (OF_A_MACHINE.fullmatch(ast.unparse(field.target)) or "Path" in ast.unparse(field.annotation))
        and not _is_marked(field)
        and f"{config.name}.{ast.unparse(field.target)}" not in SAVED_FIELDS
    ]
    assert not unmarked, f"{_name(path)}: mark with `= machine(default)` (sims/machine.py), or explain: {unmarked}"
