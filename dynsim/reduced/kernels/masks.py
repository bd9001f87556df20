"""Masks from random words: the shuffle of `numpy.random.Generator.permuted`, as far as a mask needs it.

`permuted` shuffles from the end: i = P - 1, .., 1 changes places with a uniform j <= i, found by taking 32-bit words, of
which the low bits count, until one is not above i. A row of a mask is the first `count` places of a shuffled order. Those are
settled, as a set, once the last P - count places are; the words of the rest are only counted.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def draw(words, first, count, begin, masked):
    """Fill the rows masked[begin:] (n, P), bool, with count[row] masked patches each, from the 32-bit `words` from `first` on.

    (next row, next word): where words run out within a row, that row is left to be drawn again."""
    n, P = masked.shape
    order = np.empty(P, dtype=np.int64)
    at = first
    for row in range(begin, n):
        for q in range(P):
            order[q] = q
            masked[row, q] = True
        start, i = at, P - 1
        while i > 0:
            # ---- as many words as surely do not run out and do not take i below a power of two share their low bits
            low = 1
            while low <= i:
                low *= 2
            bits = low - 1
            lowest = max(low // 2, 1)
            while i >= max(lowest, count[row]):  # these places are unmasked
                if at >= words.size:
                    return row, start
                j = np.int64(words[at]) & bits
                at += 1
                to = min(i, j)  # without a branch, which would be mispredicted: place i changes places with itself
                order[i], order[to] = order[to], order[i]
                i -= j <= i
            while i >= lowest:  # these exchange masked patches
                stop = min(words.size, at + i - lowest + 1)
                if at >= stop:
                    return row, start
                for k in range(at, stop):
                    i -= (np.int64(words[k]) & bits) <= i
                at = stop
        for q in range(count[row], P):
            masked[row, order[q]] = False
    return n, at
