"""Tile shapes of a device, and of the simulator, where a thread is a Python thread."""
from __future__ import annotations

from dataclasses import dataclass, replace

from nncompile.cuda.shim import Cuda

_LARGEST_GRID = 2**31 - 1


@dataclass(frozen=True)
class Tile:
    """The shape of a product's tile.

    A block computes rows x columns, `depth` steps of k at a time; a thread computes thread_rows x
    thread_columns of them.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        """The number of threads in a block."""
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True)
class _Few:
    """The shape of a product of few rows.

    A block computes `rows` x `lanes`; k is divided among `groups` groups of as many threads as
    lanes, at least as many groups as rows; a thread reads `depth` weights before it uses the first.
    """

    rows: int
    lanes: int
    groups: int
    depth: int

    @property
    def threads(self) -> int:
        """The number of threads in a block."""
        return self.lanes * self.groups


@dataclass(frozen=True)
class Target:
    """The shapes that kernels are made for.

    tiles: of products, by dtype, the smaller one first.
    few: of products of so few rows that tiles would be mostly empty; a block's registers, 65536,
    are enough for what its threads hold of the dtype.
    chunk: steps of k after which a sum of a product is added to the total; it is the same in every
    kernel of a product, so that a row's bits do not depend on which one ran.
    row_threads: of a row kernel's block, for short rows and for long ones.
    """

    name: str
    tiles: dict[str, tuple[Tile, Tile]]
    few: dict[str, _Few]
    chunk: int
    row_threads: tuple[int, int]
    row_length: int                           # rows up to this are short
    threads: int                              # of an elementwise kernel's block
    large: int                                # elements of a product that fill large tiles
    grid: int                                 # most blocks of a launch
    aligned: str = ""                         # lets shared arrays be read in fours


DEVICE = Target(
    name="device", chunk=64, row_threads=(32, 256), row_length=512,
    threads=256, large=128 * 128 * 128, grid=_LARGEST_GRID,
    few={"f32": _Few(4, 32, 16, 16), "f64": _Few(4, 32, 8, 8)}, tiles={
        "f32": (Tile(64, 64, 8, 4, 4), Tile(128, 128, 8, 8, 8)),
        "f64": (Tile(32, 64, 8, 4, 4), Tile(64, 64, 8, 4, 4))})

# Shapes small enough that small sizes cross every border, and two blocks, so that each must loop.
SIMULATOR = Target(
    name="simulator", chunk=4, row_threads=(2, 4), row_length=8,
    threads=4, large=48, grid=2, few=dict.fromkeys(("f32", "f64"), _Few(2, 2, 2, 2)),
    tiles=dict.fromkeys(
        ("f32", "f64"), (Tile(4, 4, 2, 2, 2), Tile(8, 4, 2, 4, 2))))


def target_of(cuda: Cuda) -> Target:
    """Returns the target for a device or the simulator."""
    if cuda.simulated:
        return SIMULATOR
    return replace(DEVICE, aligned=", alignment=16") if cuda.aligns else DEVICE
