"""Reductions with their options, quantiles, order, running sums."""

import numpy as np

from .cases import KINK, MASK, of, reduction

WEIGHTS = np.array([0.5, 2.0, 1.5])
HOLES = np.array([[1.0, np.nan, 1.0], [1.0, 1.0, np.nan]])


def positive(x):
    return np.abs(x) + 0.5


def pierced(x):
    return np.where(np.isnan(HOLES), np.nan, x)


def without_nan(fn, **form):
    return of((lambda x: fn(pierced(x), **form), (2, 3)),
              (lambda x: fn(pierced(x), axis=1, keepdims=True, **form), (2, 3)),
              (lambda x: fn(x, axis=0, **form), (2, 3)), domain=KINK)  # fmt: skip


def masked(fn, **form):
    return of((lambda x: fn(x, where=MASK, **form), (2, 3)),
              (lambda x: fn(x, axis=1, where=MASK, keepdims=True, **form), (2, 3)), domain=KINK)


SAMPLERS = {
    np.sum: [*reduction(np.sum), *masked(np.sum), *of(
        (lambda x, i: np.sum(x, axis=0, initial=i), (2, 3), ()),
        (lambda x: np.sum(x, axis=1, initial=2.0, where=MASK), (2, 3)),
        (lambda x: np.add.reduce(x, axis=(0, 1), keepdims=True), (2, 3)))],
    np.mean: [*reduction(np.mean), *masked(np.mean)],
    np.prod: [*reduction(np.prod), *masked(np.prod), *of(
        (lambda x, i: np.prod(x, initial=i), (3,), ()))],
    np.max: [*reduction(np.max, kink=True), *of(
        (lambda x, i: np.max(x, initial=i), (2, 3), ()),
        (lambda x: np.max(x, axis=0, initial=-0.1, where=MASK), (2, 3)),
        (lambda x, i: np.max(x[:0], axis=0, initial=i), (2, 3), ()), domain=KINK)],
    np.min: [*reduction(np.min, kink=True), *of(
        (lambda x: np.min(x, axis=1, initial=0.1, where=MASK), (2, 3)), domain=KINK)],
    np.amax: reduction(np.amax, kink=True), np.amin: reduction(np.amin, kink=True),
    np.ptp: reduction(np.ptp, kink=True, empty=True),
    np.var: [*reduction(np.var), *masked(np.var), *of(
        (lambda x: np.var(x, ddof=1), (4,)), (lambda x: np.var(x, axis=0, correction=1), (4, 2)),
        (lambda x, m: np.var(x, axis=1, mean=m), (2, 3), (2, 1)))],
    np.std: [*masked(np.std), *of(
        (np.std, (4,)), (lambda x: np.std(x, axis=(0, 2), ddof=1), (2, 3, 4)),
        (lambda x: np.std(x, 1, correction=1, keepdims=True), (2, 3)), domain=KINK)],
    np.average: of(
        (np.average, (2, 3)), (lambda x: np.average(x, axis=1), (2, 3)),
        (lambda x, w: np.average(x, weights=positive(w)), (2, 3), (2, 3)),
        (lambda x, w: np.average(x, 1, positive(w)), (2, 3), (3,)),
        (lambda x, w: np.average(x, (2, 0), positive(w)), (2, 3, 4), (4, 2)),
        (lambda x, w: np.average(x, 0, positive(w), keepdims=True), (2, 3), (2,)),
        (lambda x, w: np.average(x, 1, positive(w), returned=True)[1], (2, 3), (3,))),
    np.median: [*reduction(np.median, kink=True, empty=False), *of(
        (np.median, (4,)), (lambda x: np.median(x, axis=1, keepdims=True), (2, 5)), domain=KINK)],
    np.quantile: of(
        (lambda x: np.quantile(x, 0.3), (2, 3)),
        (lambda x: np.quantile(x, [0.1, 0.7], axis=1, keepdims=True), (2, 5)),
        (lambda x: np.quantile(x, [[0.2, 0.4]], axis=(0, 2)), (2, 3, 4)),
        *((lambda x, m=m: np.quantile(x, 0.37, method=m), (7,)) for m in (
            "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "hazen", "weibull",
            "interpolated_inverted_cdf", "linear", "median_unbiased", "normal_unbiased", "lower",
            "higher", "midpoint", "nearest")), domain=KINK),
    np.percentile: of((lambda x: np.percentile(x, [0, 40, 100], axis=0), (5, 2)), domain=KINK),
    np.nanmedian: without_nan(np.nanmedian), np.nanquantile: without_nan(np.nanquantile, q=0.4),
    np.nanpercentile: without_nan(np.nanpercentile, q=[30, 60]),
    **{fn: without_nan(fn) for fn in (np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean,
                                      np.nanvar, np.nanstd)},
    np.nancumsum: of((lambda x: np.nancumsum(pierced(x), axis=1), (2, 3))),
    np.nancumprod: of((lambda x: np.nancumprod(pierced(x)), (2, 3))),
    np.cumsum: of((np.cumsum, (2, 3)), (lambda x: np.cumsum(x, axis=1), (2, 3)),
                  (lambda x: np.cumsum(x, axis=0), (0, 2)), (np.add.accumulate, (3, 2))),
    np.cumprod: of((np.cumprod, (2, 3)), (lambda x: np.cumprod(x, axis=0), (4, 2)),
                   (lambda x: np.multiply.accumulate(x, axis=1), (2, 3))),
    np.cumulative_sum: of((np.cumulative_sum, (3,)), (
        lambda x: np.cumulative_sum(x, axis=1, include_initial=True), (2, 3))),
    np.cumulative_prod: of((lambda x: np.cumulative_prod(x, axis=0, include_initial=True), (3, 2))),
    np.sort: of((np.sort, (2, 4)), (lambda x: np.sort(x, 0), (4, 2)),
                (lambda x: np.sort(x, None, kind="stable"), (2, 3)), domain=KINK),
    np.partition: of((lambda x: np.partition(x, 2), (2, 4)),
                     (lambda x: np.partition(x, [0, 2], axis=0), (4, 2)), domain=KINK),
    np.unique: of((np.unique, (2, 3)), (lambda x: np.unique(x, return_index=True)[0], (4,)),
                  domain=KINK),
    np.unique_values: of((np.unique_values, (3,)), domain=KINK),
    np.unique_counts: of((lambda x: np.unique_counts(x).values, (3,)), domain=KINK),
    np.unique_inverse: of((lambda x: np.unique_inverse(x).values, (3,)), domain=KINK),
    np.unique_all: of((lambda x: np.unique_all(x).values, (3,)), domain=KINK),
    np.union1d: of((np.union1d, (3,), (2,)), domain=KINK),
    np.intersect1d: of((lambda x: np.intersect1d(x, x[1:]), (3,)), domain=KINK),
    np.setdiff1d: of((lambda x: np.setdiff1d(x, x[1:2]), (3,)), domain=KINK),
    np.setxor1d: of((lambda x, y: np.setxor1d(x, np.concatenate([y, x[1:2]])), (3,), (2,)),
                    domain=KINK),
    np.trim_zeros: of((lambda x: np.trim_zeros(np.pad(x, 2)), (3,)), domain=KINK),
}  # fmt: skip
