"""What masked images show, area by area: the index arrays that kernels go through.

A segment is an area with at least one unmasked patch in one image; images hold their segments one after another, and segments
their unmasked keys.
"""

import numpy as np

from dynsim.model.partition import Partition


def segments(part: Partition, cluster: np.ndarray, z: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, ...]:
    """The segments of images, (seg_ptr, seg_f, seg_z, key_ptr, keys).

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    cluster, z, masked : arrays (n,), (n, N_max), (n, P)
        As in Dataset.

    Returns
    -------
    tuple of arrays
        Image i has segments seg_ptr[i] to seg_ptr[i + 1], segment s feature seg_f[s], amplitude seg_z[s], and unmasked keys
        keys[key_ptr[s]] to keys[key_ptr[s + 1]].

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.segments import segments
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> masked = np.array([[True, False, False, False]])
    >>> seg_ptr, seg_f, seg_z, key_ptr, keys = segments(part, np.array([0]), np.array([[1.0, 0.5]]), masked)
    >>> seg_f, seg_z, keys
    (array([0, 1]), array([1. , 0.5]), array([1, 2, 3], dtype=uint32))
    """
    image, key = np.nonzero(~masked)
    feature = part.own[cluster[image], key]
    order = np.sort((image * part.F + feature) * part.P + key)
    image, rest = np.divmod(order, part.F * part.P)
    feature, key = np.divmod(rest, part.P)
    starts = np.flatnonzero(np.r_[True, (np.diff(image) != 0) | (np.diff(feature) != 0)])
    seg_image, seg_f = image[starts], feature[starts]
    seg_z = z[seg_image, seg_f - part.offset[cluster[seg_image]]]
    seg_ptr = np.searchsorted(seg_image, np.arange(len(cluster) + 1))
    return seg_ptr, seg_f, np.ascontiguousarray(seg_z), np.r_[starts, len(key)], key.astype(np.uint32)


def visits(P: int, shown: tuple[np.ndarray, ...], batch: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The segments that show a key, batch of images by batch, counted from the first segment of the batch.

    Parameters
    ----------
    P : int
        Number of patches.
    shown : tuple of arrays
        As `segments` returns them.
    batch : int
        Images in a batch.

    Returns
    -------
    tuple
        (batch, visit_ptr, visits): in batch b, key q is in segments visits[visit_ptr[b P + q]] to visits[visit_ptr[b P + q + 1]].

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.segments import segments, visits
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> masked = np.array([[True, False, False, False]])
    >>> shown = segments(part, np.array([0]), np.array([[1.0, 0.5]]), masked)
    >>> visits(4, shown, 64)[1:]
    (array([0, 0, 1, 2, 3]), array([0, 1, 1], dtype=uint32))
    """
    seg_ptr, seg_f, _, key_ptr, keys = shown
    first = np.r_[seg_ptr[:-1:batch], seg_ptr[-1]]
    segment = np.repeat(np.arange(len(seg_f)), np.diff(key_ptr))
    at = np.searchsorted(first, segment, side="right") - 1
    cell, found = np.divmod(np.sort((at * P + keys) * len(keys) + segment - first[at]), len(keys))
    visit_ptr = np.searchsorted(cell, np.arange((len(first) - 1) * P + 1))
    return batch, visit_ptr, found.astype(np.uint32)
