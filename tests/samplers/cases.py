"""How a sampler is written: functions of float arrays, the shapes of these, and their domain.

    of((np.kron, (2, 3), (3,)))                     one function of two arrays
    unary(np.log, 0.5, 2.0)                         a ufunc at scalars, vectors, empty arrays, ...
    of((np.sort, (4,)), domain=KINK)                no element near 0, no two of the same size
"""

import numpy as np

REAL = (-2.0, 2.0)
KINK = (*REAL, True)
MASK = np.array([[True, False, True], [False, False, True]])
IDS = np.array([[2, 0, -1], [0, 0, 1]])


def away(x, step=0.05):
    """No element near 0, none near another's size: away from kinks and ties."""
    order = np.argsort(np.argsort(np.abs(x), axis=None)).reshape(x.shape)
    return np.where(x < 0, -1, 1) * (step + np.abs(x) + step * order)


def unary(fn, low=-2.0, high=2.0, kink=False):
    return [
        (fn, [shape], (low, high, kink))
        for shape in [(), (3,), (2, 1, 3), (0,), (2, 0)]
    ]


def binary(fn, low=-2.0, high=2.0, kink=False):
    pairs = [((), ()), ((3,), (2, 3)), ((2, 1), (1, 3)), ((2, 3), ()), ((0, 3), (3,)), ((1,), (2,))]
    return [(fn, [a, b], (low, high, kink)) for a, b in pairs]


def reduction(fn, kink=False, empty=True, axes=((0, 2), (-1, 0))):
    forms = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}]
    forms += [{"axis": a} for a in axes]
    cases = [(lambda x, k=k: fn(x, **k), [(2, 3, 4)], (*REAL, kink)) for k in forms]
    cases += [(fn, [()], (*REAL, kink)), (fn, [(1,)], (*REAL, kink))]
    if empty:
        cases.append((lambda x: fn(x, axis=1), [(0, 3)], (*REAL, kink)))
    return cases


def of(*cases, domain=(*REAL, False)):
    return [(fn, list(shapes), domain) for fn, *shapes in cases]


def written(write, *arguments):
    """A function that writes into an array, as one that gives what was written into."""
    def fn(x, *more):
        t = x * 1.0
        write(t, *arguments, *more)
        return t

    return fn
