"""What the documentation's build does beyond mkdocs: it writes the reference pages, in a process of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Any


def on_pre_build(config: Any) -> None:
    """Write docs/reference."""
    docs = Path(config["docs_dir"])
    subprocess.run([sys.executable, str(docs / "reference.py"), str(docs / "reference")], check=True)
