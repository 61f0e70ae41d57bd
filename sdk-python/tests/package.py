"""Builds the wheel and installs it into an empty environment, whose Python it names on its last line. Usage: `python package.py FOLDER`.

The dependencies are those this program runs with; the package itself can only come from the wheel.
"""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

SOURCE = pathlib.Path(__file__).resolve().parent.parent


def main(folder: pathlib.Path) -> None:
    copy, wheels, empty = folder / "source", folder / "wheels", folder / "environment"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
    run = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(copy)]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(copy)
    (wheel,) = wheels.glob("*.whl")
    venv.create(empty, with_pip=False)
    variables = {"base": str(empty), "platbase": str(empty)}
    packages = pathlib.Path(sysconfig.get_path("purelib", vars=variables))
    # A wheel of pure Python is an archive of what goes there.
    shutil.unpack_archive(wheel, packages, "zip")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    print(empty / "bin/python")


main(pathlib.Path(sys.argv[1]))
