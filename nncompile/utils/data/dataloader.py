"""A loader of batches. It works in this process, whatever num_workers says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from nncompile.placeholders import getter
from nncompile.utils.data.collate import default_collate, default_convert
from nncompile.utils.data.dataset import IterableDataset
from nncompile.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler


def get_worker_info() -> None:
    """Returns None: no other process loads data."""


class DataLoader:
    """Batches of a data set, as collate_fn makes them of lists of samples.

    batch_size: None for samples one by one, as they are. shuffle: in random order. sampler: the
    order of samples; batch_sampler: lists of their numbers. drop_last: no smaller batch at the end.
    The arguments about workers, timeouts and pinned memory are taken, and have no effect: samples
    are loaded in this process, when a batch is asked for.
    Raises ValueError for arguments that exclude each other.
    """

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Any = None, batch_sampler: Any = None, num_workers: int = 0,
                 collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Any = None,
                 multiprocessing_context: Any = None, generator: Any = None, *,
                 prefetch_factor: int | None = None, persistent_workers: bool = False,
                 pin_memory_device: str = "", in_order: bool = True) -> None:
        if num_workers < 0 or timeout < 0:
            raise ValueError("DataLoader takes no negative num_workers, and no negative timeout")
        self.dataset, self.num_workers, self.pin_memory = dataset, num_workers, pin_memory
        self.timeout, self.worker_init_fn, self.generator = timeout, worker_init_fn, generator
        self.multiprocessing_context = multiprocessing_context
        self.prefetch_factor, self.persistent_workers = prefetch_factor, persistent_workers
        self.pin_memory_device, self.in_order = pin_memory_device, in_order
        self._in_sequence = isinstance(dataset, IterableDataset)
        _check_order(self._in_sequence, shuffle, sampler, batch_sampler)
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, "
                                 "shuffle, sampler, and drop_last")
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None disables auto-batching, and has no use for drop_last")
        self.sampler = self._order(shuffle) if sampler is None else sampler
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_size, self.batch_sampler, self.drop_last = batch_size, batch_sampler, drop_last
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None
                                         else default_collate)

    def _order(self, shuffle: bool | None) -> Any:
        if self._in_sequence:
            return _Endless()
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        return map(self.collate_fn, self._taken())

    def _taken(self) -> Iterator[Any]:
        """Yields what collate_fn is called with: lists of samples, or single samples."""
        if self._in_sequence:
            yield from self._from_sequence()
            return
        if self.batch_sampler is None:
            for number in self.sampler:
                yield self.dataset[number]
            return
        several = getattr(self.dataset, "__getitems__", None)
        for numbers in self.batch_sampler:
            yield several(numbers) if several else [self.dataset[i] for i in numbers]

    def _from_sequence(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from samples
            return
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        if not self._in_sequence:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


class _Endless:
    """The order of samples that come one after another."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


def _check_order(in_sequence: bool, shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    if in_sequence and (shuffle or sampler is not None or batch_sampler is not None):
        raise ValueError("DataLoader: an IterableDataset has its own order: leave out shuffle, "
                         "sampler and batch_sampler")
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
