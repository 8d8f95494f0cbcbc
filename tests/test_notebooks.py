"""The notebooks run from top to bottom, as a newcomer would run them, with a short training."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = "16384"  # two iterations: the policy need not be good


def cells(path, kind):
    return [
        "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_explains_itself(path):
    found = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in found)
    text = "\n".join(cells(path, "markdown"))
    assert text.startswith("# ")
    assert len(text.split()) > 100
    assert not re.search(r"\b(certified|compliant|CE|PL|SIL|safety function|e-stop|safe)\b", text)


@pytest.mark.slow
@pytest.mark.shown
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if "ros2" in path.stem:
        pytest.importorskip("rclpy")
    monkeypatch.setenv("ROBOLEARN_NOTEBOOK_STEPS", STEPS)
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path / "home"))
    notebook = nbformat.read(path, as_version=4)
    client.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in shown
    html = "".join(output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {}))
    if "run.video(" in "\n".join(cells(path, "code")):
        assert "data:video/mp4;base64," in html
