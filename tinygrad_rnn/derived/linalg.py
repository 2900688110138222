"""Linear algebra: solving, factorisations, norms.

The rules are those of Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008), and of the papers named beside them. A factorisation gives
several arrays; here it is one primitive that gives them packed into one, so that the graph, the
rules and a recording see one call with one result.

- ``cholesky``, ``eigh`` and ``eigvalsh`` read one triangle of their argument: the gradient lies in
  that triangle, as the derivative of the function that NumPy computes.
- The derivative of an eigenvector or singular vector does not exist where its eigenvalue or
  singular value occurs twice: the share of such a pair is NaN, or 0 where nothing depends on the
  vectors. ``det`` has its derivative at singular matrices too.
"""

import functools
import math
import operator

import numpy as np

from ..primitive import own_function, rule
from ..rules import expand
from .table import NoDerivative, axes_of, beside, derive, value


def _T(x):
    return np.swapaxes(x, -1, -2)


def eye(n, like):
    """The identity (n, n) of the dtype of ``like``, where that is."""
    return beside(np.eye(n, dtype=like.dtype), like)


def _inverse(x):
    """1 / x, and 0 where x is 0."""
    return np.where(x == 0, 0, 1 / np.where(x == 0, 1, x))


def _over_gap(x, values):
    """x_ij / (values_j - values_i), and NaN where that is x / 0: nobody can tell what it is."""
    gap = values - _T(values)
    unknown = (gap == 0) & (x != 0) & ~beside(np.eye(gap.shape[-1], dtype=bool), gap)
    return np.where(unknown, np.nan, x * _inverse(gap))


# --- solving --------------------------------------------------------------------------------------


def _solve_right(g, _y, a, _b):
    if len(_b.shape) == 1:
        return np.linalg.solve(_T(a), g[..., None])[..., 0]
    return np.linalg.solve(_T(a), g)


def _solve_left(g, y, a, _b):
    c = _solve_right(g, y, a, _b)
    return -(c[..., :, None] * y[..., None, :]) if len(_b.shape) == 1 else -(c @ _T(y))


def _pinv(g, y, a, rcond=None, rtol=None):
    """Golub & Pereyra (1973), for a rank that stays the same."""
    if rcond is not None or rtol is not None:
        return _pinv_cut(g, y, a)
    gT, yT = _T(g), _T(y)
    rows, columns = eye(a.shape[-2], a) - a @ y, eye(a.shape[-1], a) - y @ a
    return rows @ gT @ y @ yT + yT @ y @ gT @ columns - yT @ g @ yT


def _pinv_cut(g, y, a):
    """The same where singular values s are left out that are not 0. u f(s) vᵀ, which is yᵀ, has the
    divided differences of f for its derivative (Noferini, 2017); here f is 1 / s, or 0."""
    s, u, v = _parts(singular(a), a.shape[-2])
    rank = np.rint(np.sum(a * _T(y), axis=(-2, -1), keepdims=True))
    kept = beside(np.arange(s.shape[-1]), s) < rank
    f, gT = np.where(kept, _inverse(s), 0), _T(g)
    c = _T(u) @ gT @ v
    apart = np.where(kept & _T(kept), -f * _T(f), (f - _T(f)) * _inverse(s - _T(s)))
    inner = apart * (c + _T(c)) + (f + _T(f)) * _inverse(s + _T(s)) * (c - _T(c))
    below, beyond = gT @ v - u @ c, _T(u) @ gT - c @ _T(v)
    return (0.5 * u @ inner + below * (f * f)) @ _T(v) + u @ (_T(f * f) * beyond)


@own_function
def cofactors(a):
    """The derivative of the determinant: det(a) times the transposed inverse, also where there is
    no inverse."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    rest = np.prod(np.where(beside(np.eye(n, dtype=bool), s), 1, s[..., None, :]), axis=-1)
    signs = np.linalg.det(u) * np.linalg.det(vh)
    return signs[..., None, None] * ((u * rest[..., None, :]) @ vh)


def _cofactors(g, y, a):
    total = np.sum(g * y, axis=(-2, -1), keepdims=True)
    return (y * total - y @ _T(g) @ y) / np.linalg.det(a)[..., None, None]


@own_function
def sign_and_logdet(a):
    """np.linalg.slogdet as one array (..., 2)."""
    return np.stack(np.linalg.slogdet(a), axis=-1)


rule(np.linalg.solve, _solve_left, _solve_right)
rule(np.linalg.inv, lambda g, y, _a: -(_T(y) @ g @ _T(y)))
rule(np.linalg.pinv, _pinv)
rule(np.linalg.det, lambda g, _y, a: g[..., None, None] * cofactors(a))
rule(cofactors, _cofactors)
rule(sign_and_logdet, lambda g, _y, a: g[..., 1, None, None] * _T(np.linalg.inv(a)))


@derive(np.linalg.slogdet)
def _slogdet(a):
    both = sign_and_logdet(a)
    return _SlogdetResult(both[..., 0], both[..., 1])


@derive(np.linalg.lstsq)
def _lstsq(a, b, rcond=None):
    rank, n = int(np.linalg.matrix_rank(a, rcond)), a.shape[1]
    x = np.linalg.pinv(a, rcond) @ b
    rest = np.sum(np.square(b - a @ x), axis=0)
    residuals = np.atleast_1d(rest) if rank == n < len(a) else np.zeros_like(rest, shape=0)
    return x, residuals, np.int32(rank), np.linalg.svd(a, compute_uv=False)


@derive(np.linalg.tensorsolve)
def _tensorsolve(a, b, axes=None):
    if axes is not None:
        a = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    shape = a.shape[b.ndim - a.ndim :]
    flat = np.reshape(a, (math.prod(a.shape[: b.ndim]), math.prod(shape)))
    return np.reshape(np.linalg.solve(flat, np.ravel(b)), shape)


@derive(np.linalg.tensorinv)
def _tensorinv(a, ind=2):
    if ind <= 0:
        raise ValueError(f"tensorinv: a positive ind is wanted, {ind} came")
    n = math.prod(a.shape[ind:])
    return np.reshape(np.linalg.inv(np.reshape(a, (n, -1))), a.shape[ind:] + a.shape[:ind])


@derive(np.linalg.matrix_power)
def _matrix_power(a, n):
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power: square matrices are wanted, {a.shape} came")
    n = operator.index(n)
    if n == 0:
        return np.broadcast_to(eye(a.shape[-1], a), a.shape) + np.zeros_like(a)
    if n < 0:
        a, n = np.linalg.inv(a), -n
    power = None
    while n:  # by squaring
        if n & 1:
            power = a if power is None else power @ a
        n >>= 1
        a = a @ a if n else a
    return power


@derive(np.linalg.multi_dot)
def _multi_dot(arrays):
    """In the order that takes the fewest multiplications (Cormen et al., chapter 15.2)."""
    n = len(arrays)
    if n < 2:
        raise ValueError(f"multi_dot: two arrays or more are wanted, {n} came")
    first, *middle, last = arrays
    shapes = [first.shape if first.ndim > 1 else (1, len(first)), *(x.shape for x in middle),
              last.shape if last.ndim > 1 else (len(last), 1)]

    @functools.cache
    def best(i, j):
        if i == j:
            return 0, i
        outer = shapes[i][0] * shapes[j][1]
        return min((best(i, k)[0] + best(k + 1, j)[0] + outer * shapes[k][1], k)
                   for k in range(i, j))  # fmt: skip

    def product(i, j):
        if i == j:
            return arrays[i]
        k = best(i, j)[1]
        return np.dot(product(i, k), product(k + 1, j))

    return product(0, n - 1)


# --- factorisations -------------------------------------------------------------------------------


def _triangle(g, upper):
    """What a symmetric cotangent is to the one triangle that is read."""
    both = g + _T(g) - g * eye(g.shape[-1], g)
    return np.triu(both) if upper else np.tril(both)


def _cholesky(g, y, _a, upper=False):
    """Murray, "Differentiation of the Cholesky decomposition" (2016)."""
    g, y = (_T(g), _T(y)) if upper else (g, y)
    p = np.tril(_T(y) @ g) * (1 - 0.5 * eye(y.shape[-1], y))
    inverse = np.linalg.inv(y)
    return _triangle(0.5 * (_T(inverse) @ (p + _T(p)) @ inverse), upper)


@own_function
def eigen(a, *, UPLO="L"):
    """np.linalg.eigh in one array: the eigenvalues, and below them the eigenvectors."""
    values, vectors = np.linalg.eigh(a, UPLO)
    return np.concatenate([values[..., None, :], vectors], -2)


def _eigen(g, y, _a, *, UPLO="L"):
    w, v = y[..., :1, :], y[..., 1:, :]
    inner = _over_gap(_T(v) @ g[..., 1:, :], w)
    inner = inner + g[..., :1, :] * eye(w.shape[-1], w)
    c = v @ inner @ _T(v)
    return _triangle(0.5 * (c + _T(c)), UPLO in ("U", "u"))


@own_function
def singular(a):
    """The thin np.linalg.svd in one array: the singular values, and below them u and v."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([s[..., None, :], u, _T(vh)], -2)


def _parts(y, rows):
    return y[..., :1, :], y[..., 1 : rows + 1, :], y[..., rows + 1 :, :]


def _singular(g, y, _a):
    """Townsend, "Differentiating the singular value decomposition" (2016)."""
    (s, u, v), (gs, gu, gv) = _parts(y, _a.shape[-2]), _parts(g, _a.shape[-2])
    uu, vv = _T(u) @ gu, _T(v) @ gv
    turned, turned_v = _over_gap(uu - _T(uu), s * s), _over_gap(vv - _T(vv), s * s)
    inner = turned * s + _T(s) * turned_v + gs * eye(s.shape[-1], s)
    outside = (gu - u @ uu) * _inverse(s)  # what leaves the space of the columns of u, or of v
    outside_v = (gv - v @ vv) * _inverse(s)
    return (u @ inner + outside) @ _T(v) + u @ _T(outside_v)


@own_function
def singular_values(a):
    """np.linalg.svd without its vectors."""
    return np.linalg.svd(a, compute_uv=False)


def _singular_values(g, _y, a):
    _, u, v = _parts(singular(a), a.shape[-2])
    return (u * g[..., None, :]) @ _T(v)


@own_function
def orthogonal(a):
    """np.linalg.qr of a matrix that is not wide, in one array: q, and below it r."""
    return np.concatenate(np.linalg.qr(a), -2)


def _orthogonal(g, y, _a):
    """Walter & Lehmann, "Algorithmic differentiation of linear algebra functions" (2010)."""
    m = _a.shape[-2]
    (q, r), (gq, gr) = ((x[..., :m, :], x[..., m:, :]) for x in (y, g))
    inner = r @ _T(gr) - _T(gq) @ q
    inner = np.tril(inner) + _T(np.tril(inner, -1))
    return _T(np.linalg.solve(r, _T(gq + q @ inner)))


rule(np.linalg.cholesky, _cholesky, call=lambda a, upper=False: (
    _T(np.linalg.cholesky(_T(a))) if upper else np.linalg.cholesky(a)))
rule(eigen, _eigen)
rule(singular, _singular)
rule(singular_values, _singular_values)
rule(orthogonal, _orthogonal)


@derive(np.linalg.pinv)
def _pinv_of_hermitian(a, rcond=None, hermitian=False, rtol=None):
    both = np.tril(a) + _T(np.tril(a, -1))  # the one triangle is read
    return np.linalg.pinv(both, rcond=rcond) if rtol is None else np.linalg.pinv(both, rtol=rtol)


derive(np.linalg.eigvalsh)(lambda a, UPLO="L": eigen(a, UPLO=UPLO)[..., 0, :])
derive(np.linalg.svdvals)(lambda x: singular_values(x))


@derive(np.linalg.eigh)
def _eigh(a, UPLO="L"):
    both = eigen(a, UPLO=UPLO)
    return _EighResult(both[..., 0, :], both[..., 1:, :])


@derive(np.linalg.svd)
def _svd(a, full_matrices=True, compute_uv=True, hermitian=False):
    if not compute_uv:
        return singular_values(a)
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise NoDerivative(f"np.linalg.svd: {a.shape}: what full_matrices=True adds to u or vh has"
                           " no derivative; full_matrices=False is wanted")
    s, u, v = _parts(singular(a), a.shape[-2])
    return _SVDResult(u, s[..., 0, :], _T(v))


@derive(np.linalg.qr)
def _qr(a, mode="reduced"):
    m, n = a.shape[-2:]
    if mode not in ("reduced", "r", "complete") or (mode == "complete" and m > n):
        raise NoDerivative(f"np.linalg.qr: {a.shape}, mode={mode!r} has no derivative;"
                           " mode='reduced' and 'r' have one")
    both = orthogonal(a[..., :, :m])
    q, r = both[..., :m, :], both[..., m:, :]
    if m < n:
        r = np.concatenate([r, _T(q) @ a[..., :, m:]], -1)
    return r if mode == "r" else _QRResult(q, r)


_SlogdetResult, _EighResult, _QRResult = (
    type(f(np.eye(1))) for f in (np.linalg.slogdet, np.linalg.eigh, np.linalg.qr)
)
_SVDResult = type(np.linalg.svd(np.eye(1)))


# --- norms ----------------------------------------------------------------------------------------


def _vector_norm(g, y, x, *, axis, keepdims, ord):
    y = expand(y, x.shape, axis, keepdims)
    share = x / np.where(y == 0, 1, y)
    if ord != 2:
        share = np.sign(x) * np.abs(share) ** (ord - 1)
    return expand(g, x.shape, axis, keepdims) * share


@own_function
def power_norm(x, *, axis, keepdims, ord):
    """np.linalg.vector_norm of a finite order other than 0."""
    if ord == 2:
        return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))
    return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


rule(power_norm, _vector_norm)


@derive(np.linalg.vector_norm)
def _vector_norm_by_order(x, axis=None, keepdims=False, ord=2):
    if ord not in (0, 1, np.inf, -np.inf):
        return power_norm(x, axis=axis, keepdims=keepdims, ord=ord)
    size = np.abs(x)
    if ord == 0:
        return np.sum((size != 0).astype(x.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    return (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)


@derive(np.linalg.matrix_norm)
def _matrix_norm(x, keepdims=False, ord="fro"):
    return np.linalg.norm(x, ord, (-2, -1), keepdims)


@derive(np.linalg.norm)
def _norm(x, ord=None, axis=None, keepdims=False):
    axes = axes_of(axis, x.ndim)
    if len(axes) not in (1, 2) and (axis is not None or ord is not None):
        raise ValueError(f"linalg.norm: one axis or two are wanted, axis={axis!r} came")
    if ord is None or (len(axes) == 1 and not isinstance(ord, str)) or ord in ("fro", "f"):
        if ord in ("fro", "f") and len(axes) != 2:
            raise ValueError("linalg.norm: ord='fro' wants a matrix, or two axes")
        order = 2 if ord is None or isinstance(ord, str) else ord
        return _vector_norm_by_order(x, axes, keepdims, order)
    if len(axes) != 2 or ord not in (1, -1, 2, -2, np.inf, -np.inf, "nuc"):
        raise ValueError(f"linalg.norm: no norm of order {ord!r} over axis {axis!r} of an array of"
                         f" shape {x.shape}")
    x = np.moveaxis(x, axes, (-2, -1))
    if ord in (1, -1, np.inf, -np.inf):
        over = np.sum(np.abs(x), axis=-2 if abs(ord) == 1 else -1)
    else:
        over = np.linalg.svd(x, compute_uv=False)
    of_none = not over.shape[-1] and ord in (1, 2, np.inf)  # 0, as a sum of none is
    reduce = np.sum if ord == "nuc" or of_none else np.max if ord > 0 else np.min
    norm = reduce(over, axis=-1)
    return np.expand_dims(norm, axes) if keepdims else norm


@derive(np.linalg.cond)
def _cond(x, p=None):
    """Infinite where x is singular, or has an infinite element."""
    if p in (None, 2, -2):
        s = np.linalg.svd(x, compute_uv=False)
        above, below = (s[..., -1], s[..., 0]) if p == -2 else (s[..., 0], s[..., -1])
        singular = below == 0
        numbers = above / np.where(singular, 1, below)
    else:
        singular = np.linalg.slogdet(value(x))[0] == 0
        inverse = np.linalg.inv(np.where(singular[..., None, None], eye(x.shape[-1], x), x))
        numbers = np.linalg.norm(x, p, (-2, -1)) * np.linalg.norm(inverse, p, (-2, -1))
    unknown = np.isnan(numbers) & ~np.any(np.isnan(x), axis=(-2, -1))
    return np.where(singular | unknown, np.inf, numbers)


derive(np.linalg.matrix_transpose)(lambda x: _T(x))
derive(np.linalg.matmul)(lambda x1, x2: np.matmul(x1, x2))
derive(np.linalg.outer)(lambda x1, x2: np.outer(x1, x2))
derive(np.linalg.tensordot)(lambda x1, x2, axes=2: np.tensordot(x1, x2, axes))
derive(np.linalg.diagonal)(lambda x, offset=0: np.diagonal(x, offset, -2, -1))
derive(np.linalg.trace)(lambda x, offset=0: np.trace(x, offset, -2, -1))
