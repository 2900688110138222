"""Taking, choosing and writing."""

import numpy as np

from .cases import IDS, KINK, MASK, of, written

FIRST = np.array([[True, False], [True, True]])

SAMPLERS = {
    np.compress: of((lambda x: np.compress([True, False], x, axis=0), (2, 3)),
                    (lambda x: np.compress(MASK.ravel(), x), (2, 3))),
    np.extract: of((lambda x: np.extract(MASK, x), (2, 3))),
    np.choose: of((lambda a, b: np.choose(MASK.astype(int), [a, b]), (3,), (2, 3)),
                  (lambda a: np.choose([3, -1], [a, 2 * a, 1.0], mode="wrap"), (2,)),
                  (lambda a: np.choose([3, -1], [a, 2 * a], mode="clip"), (2,))),
    np.select: of((lambda a, b: np.select([a > 0, b > 0], [a, b], a * b), (2, 3), (2, 3)),
                  (lambda a, b: np.select([MASK], [a], default=b), (2, 3), ()), domain=KINK),
    np.piecewise: of(
        (lambda x: np.piecewise(x, [x < 0, x > 1], [np.sin, lambda x: x**3, 2.0]), (2, 3)),
        (lambda x: np.piecewise(x, x > 0, [np.log, np.exp]), (4,)), domain=KINK),
    np.apply_along_axis: of(
        (lambda x: np.apply_along_axis(np.sum, 0, x * x), (2, 3)),
        (lambda x: np.apply_along_axis(lambda v: v[:, None] * v, 1, x), (2, 3, 2)),
        (lambda x: np.apply_along_axis(lambda v, k: v[:2] ** k, -1, x, 3), (2, 3))),
    np.apply_over_axes: of((lambda x: np.apply_over_axes(np.sum, x * x, [0, 2]), (2, 3, 2))),
    np.bincount: of((lambda w: np.bincount(np.array([0, 3, 3]), w), (3,)),
                    (lambda w: np.bincount(np.array([0, 1]), w, minlength=4), (2,))),
    np.copyto: of((written(np.copyto), (2, 3), (3,)),
                  (written(lambda t, v: np.copyto(t, v, where=MASK)), (2, 3), ())),
    np.put: of((written(np.put, [0, 4, 0]), (2, 3), (2,)),
               (written(lambda t, v: np.put(t, [9, -1], v, mode="clip")), (2, 3), (2,))),
    np.putmask: of((written(np.putmask, MASK), (2, 3), (2,)),
                   (written(np.putmask, MASK), (2, 3), (2, 3))),
    np.place: of((written(np.place, MASK), (2, 3), (2,))),
    np.put_along_axis: of(
        (written(lambda t, v: np.put_along_axis(t, IDS[:, :1], v, 1)), (2, 3), (2, 1)),
        (written(lambda t, v: np.put_along_axis(t, np.array([0, 5]), v, None)), (2, 3), (2,))),
    np.fill_diagonal: of((written(np.fill_diagonal), (3, 3), ()),
                         (written(np.fill_diagonal), (4, 2), (2,)),
                         (written(lambda t, v: np.fill_diagonal(t, v, wrap=True)), (5, 2), (3,)),
                         (written(np.fill_diagonal), (2, 2, 2), (2,))),
}  # fmt: skip
