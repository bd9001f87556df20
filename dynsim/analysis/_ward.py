"""Area trees: Ward's linkage of patch positions, and what its areas explain of pictures.

In a cluster of pictures X (n, P, d), position p is a point of n d numbers, X[:, p]. Ward's linkage joins positions to a binary
tree; a node is a set of positions, a candidate area. In the paper's model (docs/model.md, eq. 1) all patches of an area are
equal, up to noise, in every picture, and those of different areas have nothing in common.

An area of C positions has a *feature*, the first right singular vector v of its mean patch over pictures, and in a picture an
amplitude z >= 0. What it *explains* of patch p is what the other patches say of it:

    zhat_p = max(0, mean of v.X_q over the other C - 1 patches q of the area),    gain_p = |X_p|^2 - |X_p - zhat_p v|^2

so a patch alone explains nothing, as in the model, where a masked patch is learnt from the rest of its area; and cutting an area
in two does not pay, as each part has fewer patches to take zhat from.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage

BLOCK = 4_000_000  # numbers in a temporary array


@dataclass(frozen=True, eq=False)
class Tree:
    """Ward's tree on P positions: `children` int (P - 1, 2), node P + i joins them; `members` bool (2P - 1, P)."""

    children: np.ndarray
    members: np.ndarray

    @property
    def P(self) -> int:
        """Positions."""
        return self.members.shape[1]

    def cut(self, N: int) -> np.ndarray:
        """The N nodes that are left when the N - 1 last joins are undone, int (N,)."""
        found, P = {2 * self.P - 2}, self.P
        for node in range(2 * P - 2, 2 * P - 1 - N, -1):
            found.remove(node)
            found.update(self.children[node - P].tolist())
        return np.array(sorted(found))


def tree(X: np.ndarray) -> Tree:
    """Ward's tree of the positions of X (n, P, d)."""
    n, P, d = X.shape
    columns = X.transpose(1, 0, 2).reshape(P, n * d)
    gram = columns @ columns.T
    square = gram.diagonal()
    upper = np.triu_indices(P, 1)
    joins = linkage(np.sqrt(np.maximum(square[:, None] + square - 2 * gram, 0.0))[upper], "ward")
    children = joins[:, :2].astype(np.int64)
    members = np.zeros((2 * P - 1, P), dtype=bool)
    members[:P] = np.eye(P, dtype=bool)
    for i, (a, b) in enumerate(children):
        members[P + i] = members[a] | members[b]
    return Tree(children, members)


def features(X: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Unit vectors (A, d): the first right singular vector of the mean patch (n, d) of each area in `members` bool (A, P), with
    the sign that makes the mean amplitude positive."""
    n, P, d = X.shape
    total, mean = np.zeros((len(members), d, d)), np.zeros((len(members), d))
    share = members / members.sum(axis=1, keepdims=True)
    step = max(1, BLOCK // (len(members) * d))
    for i in range(0, n, step):
        patch = share @ X[i : i + step]  # (block, A, d)
        total += patch.transpose(1, 2, 0) @ patch.transpose(1, 0, 2)
        mean += patch.sum(axis=0)
    v = np.linalg.eigh(total)[1][:, :, -1]
    return v * np.where(np.einsum("ad,ad->a", mean, v) < 0, -1.0, 1.0)[:, None]


def gains(X: np.ndarray, members: np.ndarray, v: np.ndarray) -> np.ndarray:
    """What each area explains of each picture (n, A), summed over its patches: see the module."""
    n, P, _ = X.shape
    inside = members.T.astype(float)  # (P, A)
    others = np.maximum(members.sum(axis=1) - 1.0, 1.0)
    alone = members.sum(axis=1) == 1
    found = np.empty((n, len(members)))
    step = max(1, BLOCK // (P * len(members)))
    for i in range(0, n, step):
        y = X[i : i + step] @ v.T
        z = np.maximum(((y * inside).sum(axis=1, keepdims=True) - y) / others, 0.0)
        found[i : i + step] = ((2 * y - z) * z * inside).sum(axis=1)
    found[:, alone] = 0.0
    return found


def amplitudes(X: np.ndarray, members: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Projection of the mean patch of each area on its feature, (n, A); of either sign."""
    share = members / members.sum(axis=1, keepdims=True)
    return np.einsum("npa,ap->na", X @ v.T, share, optimize=True)


def noise(X: np.ndarray, members: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Variance of those amplitudes that comes of unequal patches in an area: mean over a picture's areas of two patches and more,
    (n,); 0 where there are none."""
    C = members.sum(axis=1)
    many = C > 1
    if not many.any():
        return np.zeros(len(X))
    share = (members[many] / C[many, None]).T
    y = X @ v[many].T  # (n, P, A)
    mean = np.einsum("npa,pa->na", y, share)
    square = np.einsum("npa,pa->na", y * y, share)
    return np.maximum((square - mean * mean) / (C[many] - 1), 0.0).mean(axis=1)


def path(grown: Tree, X: np.ndarray, seen: np.ndarray, N_max: int) -> np.ndarray:
    """What cuts into N = 2 .. N_max areas explain of each picture in `seen` (n, P, d), with features of X: (n, N_max - 1)."""
    P, inner = grown.P, grown.members[grown.P :]
    each = np.concatenate([np.zeros((len(seen), P)), gains(seen, inner, features(X, inner))], axis=1)
    now, found = each[:, 2 * P - 2].copy(), np.empty((len(seen), N_max - 1))
    for i in range(N_max - 1):
        node = 2 * P - 2 - i
        a, b = grown.children[node - P]
        now += each[:, a] + each[:, b] - each[:, node]
        found[:, i] = now
    return found


def smallest_as_good(found: np.ndarray) -> int:
    """Index of the first column of found (n, choices) whose mean falls short of the best by no more than one standard error of
    their difference, picture by picture."""
    short = found[:, [int(found.mean(axis=0).argmax())]] - found
    error = short.std(axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.zeros(found.shape[1])
    return int(np.argmax(short.mean(axis=0) <= error))
