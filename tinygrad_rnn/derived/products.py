"""Products of arrays, all of them matrix products or sums of products in the end."""

import math
import string

import numpy as np

from ..primitive import own_function, rule
from .table import derive

derive(np.outer)(lambda a, b: np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1)))
derive(np.vdot)(lambda a, b: np.reshape(a, (-1,)) @ np.reshape(b, (-1,)))
derive(np.inner)(lambda a, b: np.tensordot(a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else a * b)
derive(np.trace)(lambda a, offset=0, axis1=0, axis2=1: np.sum(
    np.diagonal(a, offset, axis1, axis2), axis=-1))  # fmt: skip


@derive(np.dot)
def _dot(a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return np.matmul(a, b) if np.ndim(b) <= 2 else np.tensordot(a, b, (-1, -2))


@derive(np.tensordot)
def _tensordot(a, b, axes=2):
    if isinstance(axes, int):
        axes = tuple(range(np.ndim(a) - axes, np.ndim(a))), tuple(range(axes))
    summed = [
        [i % np.ndim(x) for i in ((n,) if isinstance(n, int) else n)]
        for x, n in zip((a, b), axes, strict=True)
    ]
    both = list(zip((a, b), summed, strict=True))
    free = [[i for i in range(np.ndim(x)) if i not in s] for x, s in both]
    inner = [[x.shape[i] for i in s] for x, s in both]
    if inner[0] != inner[1]:
        raise ValueError(f"tensordot: {a.shape} and {b.shape} summed over axes {axes}: sizes"
                         f" {inner[0]} and {inner[1]} differ")
    n = math.prod(inner[0])
    rows = math.prod(a.shape[i] for i in free[0])
    columns = math.prod(b.shape[i] for i in free[1])
    left = np.reshape(np.transpose(a, free[0] + summed[0]), (rows, n))
    right = np.reshape(np.transpose(b, summed[1] + free[1]), (n, columns))
    shape = [a.shape[i] for i in free[0]] + [b.shape[i] for i in free[1]]
    return np.reshape(left @ right, shape)


# --- einsum ---------------------------------------------------------------------------------------


@own_function
def contract(a, b, *, subscripts):
    """An einsum of two operands, no letter twice in one operand, the output written out."""
    return np.einsum(subscripts, a, b)


def _contract_operand(g, other, subscripts, shape, k):
    """Cotangent of operand ``k``, of ``shape``, of an einsum of two operands."""
    operands, out = subscripts.split("->")
    names = operands.split(",")
    mine, theirs = names[k], names[1 - k]
    alone = [i for i, name in enumerate(mine) if name not in out + theirs]  # summed over alone
    kept = "".join(name for i, name in enumerate(mine) if i not in alone)
    g = np.expand_dims(np.einsum(f"{out},{theirs}->{kept}", g, other), tuple(alone))
    return np.broadcast_to(g, tuple(shape[i] if i in alone else n for i, n in enumerate(g.shape)))


rule(contract,
     lambda g, _y, _a, b, *, subscripts: _contract_operand(g, b, subscripts, _a.shape, 0),
     lambda g, _y, a, _b, *, subscripts: _contract_operand(g, a, subscripts, _b.shape, 1))


@derive(np.einsum)
def _einsum(subscripts, *operands, optimize=False):
    """Pairs of operands, from left to right (so ``optimize`` has nothing to choose)."""
    names, out = _einsum_names(subscripts, operands)
    xs, names = map(list, zip(*map(_einsum_diagonal, operands, names), strict=True))
    while len(xs) > 1:
        (a, b), (p, q) = xs[:2], names[:2]
        later = out + "".join(names[2:])
        kept = "".join(dict.fromkeys(c for c in p + q if c in later)) if len(names) > 2 else out
        xs[:2] = [contract(a, b, subscripts=f"{p},{q}->{kept}")]
        names[:2] = [kept]
    (x,), (name,) = xs, names
    x = np.sum(x, axis=tuple(i for i, c in enumerate(name) if c not in out))
    name = [c for c in name if c in out]
    return np.transpose(x, [name.index(c) for c in out])


def _einsum_names(subscripts, operands):
    """One letter per axis, with the ellipsis and the output written out."""
    if not isinstance(subscripts, str):
        raise TypeError("einsum: subscripts are wanted as a string, such as 'ij,jk->ik'")
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    names = inputs.split(",")
    if len(names) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(names)} operands,"
                         f" {len(operands)} came")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    longest = ""
    for i, (name, x) in enumerate(zip(names, operands, strict=True)):
        if "..." in name:
            extra = "".join(spare[: np.ndim(x) - len(name) + 3])[::-1]  # aligned at the right
            longest = max(longest, extra, key=len)
            names[i] = name.replace("...", extra)
        if len(names[i]) != np.ndim(x):
            raise ValueError(f"einsum: {name!r} of {subscripts!r} for an array of shape"
                             f" {np.shape(x)}")
    if not arrow:
        every = "".join(names)
        single = sorted(c for c in set(every) if every.count(c) == 1 and c not in longest)
        return names, longest + "".join(single)
    return names, out.replace("...", longest)


def _einsum_diagonal(x, name):
    for c in dict.fromkeys(name):
        while name.count(c) > 1:
            i = name.index(c)
            j = name.index(c, i + 1)
            x = np.diagonal(x, 0, i, j)
            name = name[:i] + name[i + 1 : j] + name[j + 1 :] + c
    return x, name
