"""Our tasks in Gymnasium's registry, without importing Gymnasium for it, which takes a second. Gymnasium 1 has no entry
points for plugins: `import handsight.sims` registers, in whatever order the two are imported."""

import sys
from importlib.util import find_spec
from typing import Any

IDS = {"grasp": "handsight/Grasp-v0", "carry": "handsight/Carry-v0"}
"""The id of each task in `env_config.TASKS`, which takes half a second to import."""
PLACE = "handsight.sims.gymnasium"


def announce() -> None:
    """Register our tasks: now, or once Gymnasium is imported."""
    if "gymnasium" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _OnImport())  # type: ignore[arg-type]


def _register() -> None:
    from gymnasium.envs.registration import register

    for task, name in IDS.items():
        register(name, f"{PLACE}:TaskEnv", vector_entry_point=f"{PLACE}:task_envs", kwargs={"task": task})


class _OnImport:
    """Lets the next import of Gymnasium be followed by the registration, and is gone."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec: Any = find_spec(fullname)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), _register())
        return spec
