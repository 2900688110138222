"""Linear algebra. Matrices are made well conditioned, and symmetric where that is asked for."""

import numpy as np

from tinygrad_rnn.derived import linalg

from .cases import KINK, REAL, of


def far(x):
    """Not near a singular matrix."""
    return x + 6 * np.eye(x.shape[-1], dtype=x.dtype)


def definite(x):
    return x @ np.swapaxes(x, -1, -2) + np.eye(x.shape[-2], dtype=x.dtype)


def spread(x):
    """Symmetric, with eigenvalues that lie apart."""
    n = x.shape[-1]
    return x + np.swapaxes(x, -1, -2) + np.diag(np.arange(n, dtype=x.dtype) * 12)


def tall(x):
    """Singular values that lie apart."""
    return x + np.eye(*x.shape[-2:], dtype=x.dtype) * np.arange(1, x.shape[-1] + 1).astype(
        x.dtype) * 8  # fmt: skip


TWO = (*REAL, False)
SAMPLERS = {
    np.linalg.solve: of((lambda a, b: np.linalg.solve(far(a), b), (3, 3), (3,)),
                        (lambda a, b: np.linalg.solve(far(a), b), (3, 3), (3, 2)),
                        (lambda a, b: np.linalg.solve(far(a), b), (2, 3, 3), (3, 1)),
                        (lambda a, b: np.linalg.solve(far(a), b), (3, 3), (2, 3, 1)),
                        (lambda a, b: np.linalg.solve(far(a), b), (2, 3, 3), (3,))),
    np.linalg.inv: of((lambda a: np.linalg.inv(far(a)), (3, 3)),
                      (lambda a: np.linalg.inv(far(a)), (2, 2, 2))),
    np.linalg.pinv: of((lambda a: np.linalg.pinv(tall(a)), (4, 3)),
                       (lambda a: np.linalg.pinv(tall(a).T), (4, 2)),
                       (lambda a: np.linalg.pinv(tall(a)), (2, 3, 2)),
                       (lambda a: np.linalg.pinv(tall(a), 0.4), (2, 4, 3)),
                       (lambda a: np.linalg.pinv(tall(a).T, rtol=0.4), (4, 3)),
                       (lambda a: np.linalg.pinv(spread(a), hermitian=True), (3, 3))),
    np.linalg.det: of((lambda a: np.linalg.det(far(a)), (3, 3)), (np.linalg.det, (2, 2)),
                      (lambda a: np.linalg.det(far(a)), (2, 3, 3))),
    linalg.cofactors: of((lambda a: linalg.cofactors(far(a)), (3, 3))),
    np.linalg.slogdet: of((lambda a: np.linalg.slogdet(far(a))[1], (3, 3)),
                          (lambda a: np.linalg.slogdet(-far(a)).logabsdet, (2, 3, 3))),
    linalg.sign_and_logdet: of((lambda a: linalg.sign_and_logdet(far(a)), (2, 3, 3))),
    np.linalg.lstsq: of((lambda a, b: np.linalg.lstsq(tall(a), b)[0], (4, 2), (4,)),
                        (lambda a, b: np.linalg.lstsq(tall(a), b, rcond=None)[1], (4, 2), (4, 3)),
                        (lambda a, b: np.linalg.lstsq(tall(a), b)[3], (4, 2), (4,))),
    np.linalg.tensorsolve: of((lambda a, b: np.linalg.tensorsolve(
        np.reshape(far(a), (2, 3, 3, 2)), b), (6, 6), (2, 3))),
    np.linalg.tensorinv: of((lambda a: np.linalg.tensorinv(
        np.reshape(far(a), (6, 2, 3)), ind=1), (6, 6))),
    np.linalg.matrix_power: of(*((lambda a, n=n: np.linalg.matrix_power(far(a) / 4, n), (3, 3))
                                 for n in (-2, 1, 3)),
                               (lambda a: np.linalg.matrix_power(a, 2), (2, 3, 3))),
    np.linalg.multi_dot: of(
        (lambda a, b, c: np.linalg.multi_dot([a, b, c]), (2, 3), (3, 4), (4, 2)),
        (lambda a, b, c: np.linalg.multi_dot([a, b, c]), (3,), (3, 4), (4,)),
        (lambda a, b: np.linalg.multi_dot([a, b, b.T]), (2, 3), (3, 4))),
    np.linalg.cholesky: of((lambda a: np.linalg.cholesky(definite(a)), (3, 3)),
                           (lambda a: np.linalg.cholesky(definite(a), upper=True), (2, 3, 3))),
    linalg.eigen: of((lambda a: linalg.eigen(spread(a)), (3, 3)),
                     (lambda a: linalg.eigen(spread(a), UPLO="U"), (2, 2))),
    np.linalg.eigh: of((lambda a: np.linalg.eigh(spread(a))[0], (3, 3)),
                       (lambda a: np.linalg.eigh(spread(a), "U").eigenvectors, (2, 3, 3))),
    np.linalg.eigvalsh: of((lambda a: np.linalg.eigvalsh(spread(a)), (3, 3))),
    linalg.singular: of((lambda a: linalg.singular(tall(a)), (4, 3)),
                        (lambda a: linalg.singular(tall(a).T), (4, 2))),
    linalg.singular_values: of((lambda a: linalg.singular_values(tall(a)), (4, 3))),
    np.linalg.svd: of(*((lambda a, k=k: np.linalg.svd(tall(a), full_matrices=False)[k], (4, 3))
                        for k in range(3)),
                      (lambda a: np.linalg.svd(tall(a)).U, (3, 3)),
                      (lambda a: np.linalg.svd(tall(a), compute_uv=False), (2, 3, 2))),
    np.linalg.svdvals: of((lambda a: np.linalg.svdvals(tall(a)), (3, 2))),
    linalg.orthogonal: of((lambda a: linalg.orthogonal(tall(a)), (4, 3))),
    np.linalg.qr: of((lambda a: np.linalg.qr(tall(a))[0], (4, 3)),
                     (lambda a: np.linalg.qr(tall(a)).R, (2, 3, 3)),
                     (lambda a: np.linalg.qr(tall(a).T, "r"), (4, 2)),
                     (lambda a: np.linalg.qr(tall(a), "complete").Q, (3, 3))),
    linalg.power_norm: of((lambda x: linalg.power_norm(
        x, axis=None, keepdims=False, ord=3), (2, 3)),
                          (lambda x: linalg.power_norm(x, axis=1, ord=2.5, keepdims=True), (2, 3)),
                          domain=KINK),
    np.linalg.vector_norm: of(*((lambda x, o=o: np.linalg.vector_norm(x, axis=0, ord=o), (3, 2))
                                for o in (1, 2, 3, -1, 0.5, np.inf, -np.inf)),
                              (np.linalg.vector_norm, (2, 3)),
                              (lambda x: np.linalg.vector_norm(x, axis=(0, 2)), (2, 3, 2)),
                              domain=KINK),
    np.linalg.matrix_norm: of((np.linalg.matrix_norm, (2, 3, 2)),
                              (lambda x: np.linalg.matrix_norm(x, ord=1, keepdims=True), (3, 2)),
                              domain=KINK),
    np.linalg.norm: of(
        (np.linalg.norm, (2, 3)), (np.linalg.norm, (2, 3, 2)), (np.linalg.norm, ()),
        (lambda x: np.linalg.norm(x, axis=0, keepdims=True), (2, 3)),
        (lambda x: np.linalg.norm(x, axis=(0, 1)), (2, 3)), (lambda x: np.linalg.norm(x, 1), (3,)),
        (lambda x: np.linalg.norm(x, np.inf, 1), (2, 3)), (lambda x: np.linalg.norm(x, 2), (3,)),
        (lambda x: np.linalg.norm(x, 3, 1, True), (2, 3)),
        (lambda x: np.linalg.norm(x, "fro", (0, 2), True), (2, 3, 2)),
        (lambda x: np.linalg.norm(x, -1, (2, 0)), (2, 3, 2)),
        *((lambda x, o=o: np.linalg.norm(tall(x), o), (3, 2))
          for o in (1, -1, 2, -2, np.inf, -np.inf, "nuc", "fro")), domain=KINK),
    np.linalg.cond: of(*((lambda a, p=p: np.linalg.cond(tall(a), p), (2, 2))
                         for p in (None, 2, -2, 1, "fro")), domain=KINK),
    np.linalg.matrix_transpose: of((np.linalg.matrix_transpose, (2, 3, 4))),
    np.linalg.matmul: of((np.linalg.matmul, (2, 3), (3, 2))),
    np.linalg.outer: of((np.linalg.outer, (2,), (3,))),
    np.linalg.tensordot: of((lambda a, b: np.linalg.tensordot(a, b, axes=1), (2, 3), (3, 2))),
    np.linalg.vecdot: of((np.linalg.vecdot, (2, 3), (3,))),
    np.linalg.diagonal: of((lambda a: np.linalg.diagonal(a, offset=1), (2, 3, 3))),
    np.linalg.trace: of((lambda a: np.linalg.trace(a, offset=-1), (2, 3, 3))),
    np.linalg.cross: of((np.linalg.cross, (2, 3), (3,))),
}  # fmt: skip
