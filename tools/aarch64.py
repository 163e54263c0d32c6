"""Runs tests on an emulated aarch64: make test-aarch64, or python -m tools.aarch64 [TESTS...]

It needs Debian's apt-get and dpkg-deb and the Python package index, but installs nothing on this
system: Debian's CPython 3.11 for arm64, qemu's user-mode emulator and the aarch64 wheels of the
pinned test requirements are unpacked into build/aarch64, once. An emulated process takes about ten
times as long as a native one.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build/aarch64"
PYTHON = "3.11"                                  # Debian 12's
DEBIAN = [
    "qemu-user-static:amd64", "python3.11-minimal:arm64", "libpython3.11-minimal:arm64",
    "libpython3.11-stdlib:arm64", "libc6:arm64", "libgcc-s1:arm64", "libstdc++6:arm64",
    "libexpat1:arm64", "zlib1g:arm64", "libssl3:arm64", "libffi8:arm64", "libbz2-1.0:arm64",
    "liblzma5:arm64", "libuuid1:arm64", "libsqlite3-0:arm64"]
WHEELS = ("hypothesis", "llvmlite", "mpmath", "networkx", "numba", "numpy", "pytest", "scipy",
          "threadpoolctl")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
TESTS = ["tests/cpu/test_kernels_bounds.py", "tests/cpu/test_kernels_columns.py",
         "tests/cpu/test_kernels_elementwise.py", "tests/cpu/test_kernels_gathers.py",
         "tests/cpu/test_kernels_product.py", "tests/cpu/test_kernels_reductions.py",
         "tests/cpu/test_kernels_rows.py", "tests/cpu/test_math_types.py",
         "tests/cpu/test_objects_link.py", "tests/cpu/test_runtime_call.py"]

_APT = """APT::Architecture "amd64";
APT::Architectures {{ "amd64"; "arm64"; }};
APT::Sandbox::User "root";
Dir::State "{0}/apt/state";
Dir::State::status "{0}/apt/status";
Dir::Cache "{0}/apt/cache";
Dir::Etc::sourcelist "{0}/apt/sources.list";
Dir::Etc::sourceparts "-";
"""
_SOURCE = ("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
           "http://deb.debian.org/debian bookworm main\n")
_LAUNCHER = """#!/bin/sh
exec env PYTHONHOME={0}/root/usr {0}/root/usr/bin/qemu-aarch64-static -L {0}/root \\
    {0}/root/usr/bin/python3.11 "$@"
"""
# Python takes the emulated file for sys.executable, which this kernel cannot start.
_SITE = "import sys\nsys.executable = {!r}\n"
# NumPy's own product of floats, the oracle of some tests, warns there of numbers that it has not.
_WARNINGS = [f"-Wignore:{what} encountered in matmul:RuntimeWarning"
             for what in ("divide by zero", "invalid value", "overflow")]


def main() -> int:
    """Unpacks what is missing, runs the tests, and returns their exit status."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            print(f"test-aarch64 needs {tool}, which Debian and its relatives have")
            return 2
    launcher = PLACE / "python"
    if not launcher.exists():
        shutil.rmtree(PLACE, ignore_errors=True)
        try:
            unpack_debian()
            unpack_wheels()
        except subprocess.CalledProcessError as error:
            print(f"test-aarch64 cannot get what it needs: {' '.join(map(str, error.cmd))}")
            return 2
        (PLACE / "site/sitecustomize.py").write_text(_SITE.format(str(launcher)))
        launcher.write_text(_LAUNCHER.format(PLACE))
        launcher.chmod(0o755)
    variables = {"PYTHONPATH": f"{PLACE}/site:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [launcher, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_WARNINGS,
               *(sys.argv[1:] or TESTS)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False
                          ).returncode


def unpack_debian() -> None:
    """CPython and the emulator, by an apt of their own that knows nothing of this system's."""
    apt, debs = PLACE / "apt", PLACE / "debs"
    for folder in (apt / "state/lists/partial", apt / "cache/archives/partial", debs):
        folder.mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(_SOURCE)
    (apt / "apt.conf").write_text(_APT.format(PLACE))
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    subprocess.run(["apt-get", "-qq", "download", *DEBIAN], env=environment, cwd=debs, check=True)
    for package in debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, PLACE / "root"], check=True)


def unpack_wheels() -> None:
    """The packages of the extra `test` that these tests import, in its versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [line for line in project["optional-dependencies"]["test"]
              if line.partition("==")[0] in WHEELS]
    platforms = [f"--platform={name}" for name in PLATFORMS]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:",
                    "--implementation=cp", f"--python-version={PYTHON}", *platforms,
                    "-d", PLACE / "wheels", *pinned], check=True)
    for wheel in (PLACE / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(PLACE / "site")


if __name__ == "__main__":
    raise SystemExit(main())
