"""Writes each Python block of the README as a module of its own, for the type checker, and runs the one that needs no server.

Usage: `python snippets.py FOLDER`.
"""

import pathlib
import re
import runpy
import sys

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def main(folder: pathlib.Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if len(blocks) < 5:
        sys.exit(f"the README has only {len(blocks)} blocks")
    for number, block in enumerate(blocks):
        (folder / f"snippet_{number}.py").write_text(block, "utf-8")
        found = runpy.run_path(str(folder / f"snippet_{number}.py"))
        for name, value in found.items():
            if name.startswith("test_"):
                value()


main(pathlib.Path(sys.argv[1]))
