"""Random numbers by a counter: Philox4x32-10.

Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011). A number is a
function of a key and a counter, so that each can be computed by itself, by whichever thread.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ir.types import NDArray

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57             # of the first and the third word
STEPS = 0x9E3779B9, 0xBB67AE85                   # what is added to the key after each round
GROUP = 64                                       # elements that share 16 counters
_COUNTERS = GROUP // 4
_LOW = np.uint64(0xFFFFFFFF)


def philox(counter: Sequence[Any], key: Sequence[Any], multiplied: Callable[[int, Any], Any],
           exclusive: Callable[[Any, Any], Any], added: Callable[[Any, int], Any]) -> list[Any]:
    """Returns the four words of a counter of four words, of 32 bits each, under a key of two.

    multiplied: returns the high and the low word of a product with a constant; exclusive: the
    exclusive or; added: the sum with a constant, modulo 2^32. What a word is, they decide: an array
    here, a vector of LLVM in a kernel.
    """
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high_a, low_a = multiplied(MULTIPLIERS[0], a)
        high_c, low_c = multiplied(MULTIPLIERS[1], c)
        a, b, c, d = (exclusive(exclusive(high_c, b), k0), low_c,
                      exclusive(exclusive(high_a, d), k1), low_a)
        k0, k1 = added(k0, STEPS[0]), added(k1, STEPS[1])
    return [a, b, c, d]


def words(seed: NDArray, stream: int, start: int, stop: int) -> NDArray:
    """Returns the random words, uint32, of the elements start..stop of a stream.

    seed: two int64, the key and the number of the draw. The elements of each 64 are the first words
    of 16 counters, then their second words, and so on: so a vector of any length has one of them.
    """
    first = start // GROUP
    count = _COUNTERS * (-(-stop // GROUP) - first)
    counters = (np.arange(count) + first * _COUNTERS).reshape(-1, _COUNTERS).astype(np.uint64)
    key, draw = (np.uint64(int(number) & (2**64 - 1)) for number in seed)

    def constant(number: Any) -> NDArray:
        return np.full_like(counters, np.uint64(number) & _LOW)

    def multiplied(factor: int, word: NDArray) -> tuple[NDArray, NDArray]:
        whole = word * np.uint64(factor)
        return whole >> np.uint64(32), whole & _LOW

    made = philox(
        [counters & _LOW, constant(stream), constant(draw), constant(int(draw) >> 32)],
        [constant(key), constant(int(key) >> 32)], multiplied, np.bitwise_xor,
        lambda word, number: (word + np.uint64(number)) & _LOW)
    flat = np.stack(made, 1).reshape(-1).astype(np.uint32)
    return flat[start - first * GROUP:stop - first * GROUP]


def uniform(seed: NDArray, stream: int, start: int, stop: int) -> NDArray:
    """Returns the numbers of these elements, float32, uniform on [0, 1): multiples of 2^-24."""
    high = words(seed, stream, start, stop) >> np.uint32(8)
    return high.astype(np.float32) * np.float32(2.0**-24)
