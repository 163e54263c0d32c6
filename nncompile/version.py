"""The version of torch whose names are here, as torch.version has it, and our own."""

from __future__ import annotations

from typing import Any

from nncompile.placeholders import TORCH_VERSION

cuda = hip = rocm = xpu = None                   # what torch was built for: neither of them
debug = False
git_version = "unknown"


class TorchVersion(str):
    """A version that is compared by its numbers, with text or a tuple: 2.13.0 > "2.9"."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __lt__(self, other: Any) -> bool:
        return _numbers(self) < _numbers(other)

    def __le__(self, other: Any) -> bool:
        return _numbers(self) <= _numbers(other)

    def __gt__(self, other: Any) -> bool:
        return _numbers(self) > _numbers(other)

    def __ge__(self, other: Any) -> bool:
        return _numbers(self) >= _numbers(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str | tuple) and _numbers(self) == _numbers(other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def _numbers(version: Any) -> list[int]:
    """Returns the numbers of a version's release, without zeros at the end: 2.10 for "2.10.0a1".
    """
    if isinstance(version, str):
        version = version.partition("+")[0].split(".")
    numbers = []
    for part in version:
        digits = str(part)[: len(str(part)) - len(str(part).lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != str(part):                  # 0a1 and 0rc2: a release to come
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


__version__ = TorchVersion(TORCH_VERSION)


def _own() -> str:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("nncompile")
    except PackageNotFoundError:                 # used from a source tree that is not installed
        return "0"


def __getattr__(name: str) -> Any:
    if name == "nncompile":                      # the version of this package
        return _own()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
