"""Copies the protos that ours import out of the packages that carry them.

usage: unpack_protos.py TARGET WHEEL

The list is short on purpose: buf reads every file of the folder, and what is not here cannot be
imported by accident.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

FROM_WHEEL = (
    "google/api/annotations.proto",
    "google/api/field_behavior.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "google/type/date.proto",
    "google/type/money.proto",
)
FROM_CRATE = ("prost-protovalidate-types", "buf/validate/validate.proto")


def crate_dir(name: str) -> pathlib.Path:
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.check_output(command))
    for package in metadata["packages"]:
        if package["name"] == name:
            return pathlib.Path(package["manifest_path"]).parent
    sys.exit(f"{name} is not among the dependencies")


def main(target: pathlib.Path, wheel: pathlib.Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in FROM_WHEEL:
            archive.extract(name, target)
    crate, name = FROM_CRATE
    found = list(crate_dir(crate).rglob(name))
    if len(found) != 1:
        sys.exit(f"{crate} has {len(found)} files named {name}")
    (target / name).parent.mkdir(parents=True)
    shutil.copy(found[0], target / name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
