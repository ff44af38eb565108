"""Progress and tables in a notebook."""

import re

import nbformat
from nbclient import NotebookClient

CELL = """
from handsight.distill.runs.progress import Table, stage, tell
with stage("nothing", 0) as bar:
    pass
with stage("train <b>", 3, unit="episodes") as bar:
    for _ in range(3):
        bar.advance(1, success=0.5)
        bar.show()
table = Table("policy", "success", title="held out", caption="95 %")
table.add_row("<zoo:state>", "0.97\\n0.95-0.98")
tell(table)
table
"""


def test_a_notebook_shows_one_bar_that_moves_and_tables_as_html():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [one["data"]["text/html"] for one in notebook.cells[0].outputs if "text/html" in one.get("data", {})]
    bars = [one for one in shown if "<progress" in one]
    assert len(bars) == 1 and 'max="3"' in bars[0] and "train &lt;b&gt;: 3/3 episodes" in bars[0]
    tables = [one["data"] for one in notebook.cells[0].outputs if "<table>" in one.get("data", {}).get("text/html", "")]
    assert len(tables) == 2 and tables[0] == tables[1]
    words = re.findall(r">([^<>]+)<", tables[0]["text/html"])
    assert words == ["held out", "policy", "success", "&lt;zoo:state&gt;", "0.97", "0.95-0.98", "95 %"]
    assert "\x1b" not in tables[0]["text/plain"] and "│ <zoo:state> │ 0.97      │" in tables[0]["text/plain"]
    assert not [one for one in notebook.cells[0].outputs if one.output_type == "stream"]
