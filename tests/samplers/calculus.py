"""Differences, sums over a grid, interpolation, polynomials, grids of numbers."""

import numpy as np

from .cases import KINK, of

POINTS = np.array([0.0, 1.0, 2.5, 4.0])


def steps(x):
    """Increasing."""
    return np.cumsum(np.abs(x) + 0.5)


SAMPLERS = {
    np.diff: of((np.diff, (2, 4)), (lambda x: np.diff(x, 2, 0), (4, 2)),
                (lambda x, e: np.diff(x, prepend=e, append=1.0), (2, 3), ()),
                (lambda x, e: np.diff(x, axis=0, append=e), (2, 3), (1, 3)),
                (lambda x: np.diff(x, n=0), (3,))),
    np.ediff1d: of((lambda x, e: np.ediff1d(x, to_begin=e, to_end=[1.0, 2.0]), (2, 3), ())),
    np.gradient: of(
        (np.gradient, (4,)), (lambda x: np.gradient(x)[0], (3, 4)),
        (lambda x: np.gradient(x, axis=1, edge_order=2), (2, 4)),
        (lambda x, h: np.gradient(x, steps(h)), (4,), (4,)),
        (lambda x, h: np.gradient(x, steps(h), edge_order=2), (4,), (4,)),
        (lambda x, h: np.gradient(x, 2.0 + h, POINTS)[1], (3, 4), ())),
    np.trapezoid: of((np.trapezoid, (2, 4)), (lambda y: np.trapezoid(y, POINTS, axis=0), (4, 2)),
                     (lambda y, x: np.trapezoid(y, x), (2, 4), (4,)),
                     (lambda y, x: np.trapezoid(y, x, axis=0), (4, 2), (4, 2)),
                     (lambda y, dx: np.trapezoid(y, dx=dx), (4,), ())),
    np.interp: of((lambda x, f: np.interp(x, POINTS, f), (2, 3), (4,)),
                  (lambda x, p, f: np.interp(np.abs(x), steps(p), f), (5,), (4,), (4,)),
                  (lambda x, f, e: np.interp(3 * x, POINTS, f, left=e, right=2 * e), (5,), (4,),
                   ()),
                  (lambda x, f: np.interp(x, POINTS, f, period=5.0), (5,), (4,)), domain=KINK),
    np.unwrap: of((lambda x: np.unwrap(3 * x), (4,)), (lambda x: np.unwrap(x, axis=0), (3, 2)),
                  domain=KINK),
    np.linspace: of((lambda a, b: np.linspace(a, b, 5), (), ()),
                    (lambda a, b: np.linspace(a, b, 3, axis=-1), (2,), (3, 1)),
                    (lambda a, b: np.linspace(a, b, 4, endpoint=False), (), (2,)),
                    (lambda a, b: np.linspace(a, b, 4, retstep=True)[1], (), ()),
                    (lambda a, b: np.linspace(a, b, 1), (), ())),
    np.logspace: of((lambda a, b: np.logspace(a, b, 3, base=2.0), (), ()),
                    (lambda a, b: np.logspace(a, 1.0, 3, base=3.0 + b), (), ())),
    np.geomspace: of((lambda a, b: np.geomspace(np.abs(a), np.abs(4 + b), 3), (), ()), domain=KINK),
    np.polyval: of((np.polyval, (3,), (2, 2))),
    np.polyadd: of((np.polyadd, (3,), (2,))), np.polysub: of((np.polysub, (2,), (3,))),
    np.polymul: of((np.polymul, (3,), (2,))),
    np.polyder: of((np.polyder, (4,)), (lambda p: np.polyder(p, 2), (4,))),
    np.polyint: of((np.polyint, (3,)), (lambda p, k: np.polyint(p, 2, k), (3,), (2,))),
    np.polyfit: of((lambda y: np.polyfit(POINTS, y, 1), (4,)),
                   (lambda x, y: np.polyfit(steps(x), y, 2), (5,), (5, 2)),
                   (lambda y, w: np.polyfit(POINTS, y, 1, w=np.abs(w) + 0.5), (4,), (4,))),
}  # fmt: skip
