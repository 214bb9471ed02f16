"""Run the notebooks of docs/notebooks and keep what they print and draw.

    python docs/run_notebooks.py

Each is run in an empty folder, without a network, from its first cell on; a cell that fails ends it. The site
(docs/build_site.py) runs them as well, and shows them as pages.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parent / "notebooks").glob("*.ipynb"))

#: Colours and movements of a terminal.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read(path: Path) -> Any:
    """A notebook as it lies there."""
    return nbformat.read(path, as_version=4)


def executed(path: Path) -> Any:
    """A notebook with what its cells give now."""
    notebook = read(path)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, startup_timeout=300, timeout=900, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        if cell.cell_type == "code":
            cell.outputs = _joined(output for output in cell.outputs if "TqdmWarning" not in output.get("text", ""))
            for output in cell.outputs:
                if "text" in output:
                    output["text"] = _ESCAPES.sub("", output["text"]).replace(f"{folder}/", "")
    return notebook


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Outputs, where lines of text that follow each other are one; rich shows each line by itself."""
    joined: list[Any] = []
    for output in outputs:
        if output.output_type == "display_data" and set(output.data) == {"text/html", "text/plain"}:
            output = nbformat.v4.new_output("stream", name="stdout", text=output.data["text/plain"])
        if output.output_type == "stream" and joined and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def as_page(notebook: Any, pictures: Path) -> str:
    """A notebook as Markdown, its pictures written into a folder beside the page."""
    parts: list[str] = []
    for number, cell in enumerate(notebook.cells):
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                picture = pictures / f"cell-{number}.png"
                pictures.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![What the cell draws]({pictures.name}/{picture.name})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Renew the outputs of all notebooks."""
    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path.name)


if __name__ == "__main__":
    main()
