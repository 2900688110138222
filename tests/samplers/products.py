"""Products, convolution and covariance."""

import numpy as np

from .cases import KINK, of

WEIGHTS = np.array([1, 2, 1, 3])


def positive(x):
    return np.abs(x) + 0.5


SAMPLERS = {
    **{fn: of((fn, a, b), (fn, *more)) for name, a, b, more in (
        ("vecdot", (2, 3), (3,), ((4, 1, 3), (2, 3))), ("matvec", (2, 3), (3,), ((4, 2, 3), (3,))),
        ("vecmat", (2,), (2, 3), ((4, 2), (2, 3)))) if (fn := getattr(np, name, None))},
    np.kron: of((np.kron, (2, 3), (3,)), (np.kron, (2,), (2, 2, 1)), (np.kron, (), (3,))),
    np.cross: of((np.cross, (2, 3), (3,)), (lambda a, b: np.cross(a, b, axis=0), (3, 2), (3, 2)),
                 (lambda a, b: np.cross(a, b, 0, 1, 0), (3, 2), (2, 3))),
    np.convolve: of(*((lambda a, v, m=m: np.convolve(a, v, m), (n,), (k,))
                      for m in ("full", "same", "valid")
                      for n, k in ((5, 3), (4, 4), (2, 5), (5, 2), (1, 1)))),
    np.correlate: of(*((lambda a, v, m=m: np.correlate(a, v, m), (n,), (k,))
                       for m in ("full", "same", "valid")
                       for n, k in ((5, 3), (4, 4), (2, 5), (3, 6), (4, 6), (5, 2)))),
    np.cov: of((np.cov, (2, 4)), (np.cov, (4,)), (lambda a, b: np.cov(a, b, bias=True), (4,), (4,)),
               (lambda a: np.cov(a, rowvar=False), (4, 2)),
               (lambda a: np.cov(a, fweights=WEIGHTS), (2, 4)),
               (lambda a, w: np.cov(a, ddof=0, aweights=positive(w)), (2, 4), (4,)),
               (lambda a, w: np.cov(a, fweights=WEIGHTS, aweights=positive(w)), (2, 4), (4,))),
    np.corrcoef: of((lambda a: np.corrcoef(a)[0], (3, 5)),
                    (lambda a, b: np.corrcoef(a, b)[0, 1], (5,), (5,)), domain=KINK),
    np.einsum: of(
        (lambda a, b: np.einsum("ij,jk->ik", a, b), (2, 3), (3, 4)),
        (lambda a, b: np.einsum("ij,jk", a, b), (2, 3), (3, 4)),
        (lambda a, b: np.einsum("...ij,...kj->...ik", a, b), (5, 2, 3), (4, 3)),
        (lambda a: np.einsum("ii->i", a), (3, 3)), (lambda a: np.einsum("ii", a), (3, 3)),
        (lambda a: np.einsum("ijk->kj", a), (2, 3, 4)), (lambda a: np.einsum("ij->", a), (2, 3)),
        (lambda a, b: np.einsum("ij,ik->k", a, b), (2, 3), (2, 4)),
        (lambda a, b: np.einsum("ij,k->k", a, b), (2, 3), (4,)),
        (lambda a, b: np.einsum("iij,j->i", a, b), (2, 2, 3), (3,)),
        (lambda a, b: np.einsum("ij,jk,kl->il", a, b, a), (2, 3), (3, 2)),
        (lambda a, b: np.einsum("ij,ij->ij", a, b), (2, 3), (1, 3)),
        (lambda a, b: np.einsum("ij,jk->ik", a, b), (2, 1), (3, 4)),
        (lambda a, b: np.einsum("ij,kj->k", a, b), (2, 3), (4, 1)),
        (lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [0, 2]), (2, 3), (3, 4)),
        (lambda a: np.einsum(a, [0, 0]), (3, 3)),
        (lambda a, b: np.einsum(a, [..., 0], b, [0], [...]), (2, 3), (3,))),
}  # fmt: skip
