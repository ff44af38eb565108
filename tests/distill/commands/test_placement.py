"""Placements to look at: the figures are those that were measured."""

from handsight.distill.commands.capacity import placement_figure, placement_table

MACHINE = {"hardware": {"cpu": "an invented processor", "cores": 2}}
CAPACITY = {
    "memory": 4 * 2**30,
    "settings": {"devices": 4},
    "costs_at_length": {
        name: {"fixed": fixed * 2**30, "per_world": 2**20}
        for name, fixed in {"together": 1, "learner": 0.5, "simulator": 0.25}.items()
    },
    "splits": [
        {"simulators": 1, "learners": 3, "worlds": 3072, "limit": "simulators"},
        {"simulators": 0, "learners": 4, "worlds": 8192, "limit": "both"},
    ],
}
MEASURED = {
    "overhead": {
        "simulators": 3,
        "worlds_each": 64,
        "pixels": 64,
        "seconds_per_step": {"in_process": 0.1, "remote": 0.125},
        "traffic": {"remote/bytes_per_step": 2**21, "remote/seconds_transfer": 0.009},
        "provenance": MACHINE,
    },
    "overlap": {"in_turns": {"iteration": 5.7}, "lag": {"iteration": 4.6}},
}


def test_memory_is_a_line_and_worlds_are_bars():
    lines, bars = placement_figure(CAPACITY).axes
    together = lines.lines[0]
    assert together.get_ydata()[0] == 1.0
    assert together.get_ydata()[-1] == 1.0 + 8192 / 1024
    assert [bar.get_height() for bar in bars.patches] == [8192, 3072]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["together", "1 + 3"]


def test_table_says_what_remote_simulators_cost():
    cells = [list(column.cells) for column in placement_table(MEASURED).columns]
    assert cells[1][:3] == ["100 ms", "125 ms (+25%)", "9.0 ms for 2.0 MiB"]
    assert "3 x 64 worlds" in cells[0][0]
