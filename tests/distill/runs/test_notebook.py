"""Progress and tables in a notebook."""

import nbformat
from nbclient import NotebookClient

CELL = """
from rich.table import Table
from handsight.distill.runs.progress import stage, tell
with stage("train <b>", 3, unit="episodes") as bar:
    for _ in range(3):
        bar.advance(1, success=0.5)
        bar.show()
table = Table("policy", "success")
table.add_row("zoo:state", "0.97")
tell(table)
"""


def test_a_notebook_shows_one_bar_that_moves_and_tables_as_html():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [one["data"]["text/html"] for one in notebook.cells[0].outputs if "text/html" in one.get("data", {})]
    bars = [one for one in shown if "<progress" in one]
    assert len(bars) == 1 and 'max="3"' in bars[0] and "train &lt;b&gt;: 3/3 episodes" in bars[0]
    assert [one for one in shown if "zoo:state" in one and "<pre" in one]
    assert not [one for one in notebook.cells[0].outputs if one.output_type == "stream"]
