"""Ufuncs that are said in terms of others, and the methods of ufuncs."""

import numpy as np

from .cases import KINK, MASK, binary, of, unary, written

AGAIN = np.array([0, 2, 0, 1])

SAMPLERS = {
    np.fabs: unary(np.fabs, kink=True),
    **{f: unary(f) for f in (np.deg2rad, np.rad2deg, np.radians, np.degrees, np.sinc, np.real,
                             np.conj, np.nan_to_num, np.real_if_close)},
    **{f: unary(f, 0.1, 0.4) for f in (np.round, np.around, np.fix, np.angle)},
    np.logaddexp2: binary(np.logaddexp2),
    np.copysign: binary(np.copysign, kink=True), np.heaviside: binary(np.heaviside, kink=True),
    np.fmax: binary(np.fmax, kink=True), np.fmin: binary(np.fmin, kink=True),
    np.float_power: binary(np.float_power, 0.5, 2.0), np.nextafter: binary(np.nextafter, kink=True),
    np.fmod: of((lambda x, y: np.fmod(x, y + 5), (3,), (2, 3)),
                (lambda x, y: np.fmod(-x * 9, y + 1), (3,), (3,)), domain=(0.1, 0.9, False)),
    np.floor_divide: of((lambda x, y: np.floor_divide(x, y + 5), (3,), (2, 3)),
                        domain=(0.1, 1.0, False)),
    np.divmod: of(*((lambda x, y, k=k: np.divmod(x, y + 5)[k], (3,), (2, 3)) for k in range(2)),
                  domain=(0.1, 1.0, False)),
    np.modf: of(*((lambda x, k=k: np.modf(x)[k], (3,)) for k in range(2)),
                domain=(0.1, 0.9, False)),
    np.frexp: of((lambda x: np.frexp(x)[0], (2, 3)), domain=(0.6, 0.9, False)),
    np.ldexp: of((lambda x: np.ldexp(x, np.array([1, -2, 0])), (2, 3))),
    np.clip: of((lambda x: np.clip(x, -0.7, 0.9), (2, 3)),
                (lambda x, lo: np.clip(x, lo, None), (2, 3), (3,)),
                (lambda x, hi: np.clip(x, a_min=None, a_max=hi), (2, 3), (3,)),
                (lambda x, lo: np.clip(x, min=lo), (2, 3), ()), domain=KINK),
}  # fmt: skip

METHODS = [
    *of((np.logaddexp.reduce, (2, 3)), (lambda x: np.logaddexp.reduce(x, axis=None), (2, 3)),
        (lambda x: np.subtract.reduce(x, axis=1, keepdims=True), (2, 3)),
        (lambda x: np.hypot.reduce(x, axis=(0, 1)), (2, 3)),
        (lambda x: np.logaddexp.accumulate(x, axis=1), (2, 3)),
        (lambda x: np.add.reduceat(x, [0, 2, 1], axis=1), (2, 3)),
        (lambda x: np.multiply.reduceat(x, [1, 0]), (3, 2)),
        (np.subtract.outer, (2, 3), (2,)), (np.multiply.outer, (), (3,)),
        (written(np.add.at, AGAIN), (3,), (4,)),
        (written(np.add.at, [0, 2, 0]), (3, 2), ()),
        (written(np.subtract.at, ([0, 0], [1, 1])), (3, 2), (2,)),
        (written(np.multiply.at, AGAIN), (3, 2), (4, 2)),
        (written(np.subtract.at, (slice(None), AGAIN)), (2, 3), ()),
        (written(np.negative.at, AGAIN), (3,)), (written(np.exp.at, MASK), (2, 3))),
    *of((np.maximum.accumulate, (5,)), (lambda x: np.minimum.accumulate(x, axis=1), (2, 4)),
        (np.fmax.reduce, (4,)), (written(np.maximum.at, AGAIN), (3,), (4,)),
        (lambda x, y: np.add(x, y, where=MASK, out=x * 2), (2, 3), (3,)),
        (lambda x: np.log(x, where=x > 0, out=np.zeros_like(x)), (2, 3)), domain=KINK),
]  # fmt: skip
