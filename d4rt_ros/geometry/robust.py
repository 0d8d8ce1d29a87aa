"""The robust kernel of Geman and McClure ("Statistical methods for tomographic image reconstruction", 1987).

The cost of a residual whose Mahalanobis length is m is m² / (1 + m²/k²): m² for small ones, never more than k². Its
weight in iteratively reweighted least squares is (1 + m²/k²)⁻². A large k is plain least squares.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# From a wide kernel, which finds the way from a start that is off, to a narrow one, which is right.
WIDE, NARROW = 8.0, 2.0
# Of an information's smallest eigenvalue, its diagonal scaled to 1: what is smaller is rounding.
SINGULAR = 1e-11


def robust_cost(squared: np.ndarray, k: float) -> np.ndarray:
    """Costs of squared Mahalanobis lengths; what is infinite costs k²."""
    share = np.minimum(squared / k**2, 1e30)
    return k**2 * share / (1.0 + share)


def robust_weights(squared: np.ndarray, k: float) -> np.ndarray:
    """Weights 0..1 of squared Mahalanobis lengths; 0 for what is infinite."""
    return (1.0 + squared / k**2) ** -2


def check_kernel(kernel: tuple[float, float]) -> None:
    """Raises ValueError for what is no pair of widths. Below 1 hardly any good residual would count."""
    if not (len(kernel) == 2 and all(1 <= k < np.inf for k in kernel)):
        raise ValueError(f"kernel = {kernel}; two widths from 1 are expected, the first and the last")


@lru_cache(maxsize=64)
def kernel_calibration(k: float) -> tuple[float, float]:
    """What the kernel takes from good residuals, which are normal, of two coordinates: (scale, curvature).

    scale: by which the cost must be multiplied to count as much as minus twice the log likelihood does beside
    a prior. curvature: by which the weighted normal matrix, which only bounds the cost, must then be multiplied to be
    the information that the residuals carry. Both are 1 for a large k. With w the weight, psi = w e and the expected
    values A of its derivative and B of its square, the M-estimator's variance is B/A² (Huber, Robust Statistics,
    1981, 3.2): the scale A/B makes it the inverse of the cost's own curvature.
    """
    nodes, shares = _exponential_quadrature()  # m² of two normal coordinates is twice an exponential variable
    squared, t = 2.0 * nodes, 2.0 * nodes / k**2
    weight = (1.0 + t) ** -2
    a = float(shares @ ((1.0 - t) / (1.0 + t) ** 3))
    b = float(shares @ (weight**2 * squared)) / 2.0
    return a / b, a / float(shares @ weight)


@lru_cache(maxsize=1)
def _exponential_quadrature() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.laguerre.laggauss(64)


def inverse_information(information: np.ndarray) -> np.ndarray:
    """The covariance (P, P); raises numpy's LinAlgError where there is none, or but for rounding."""
    if not len(information):
        return np.zeros((0, 0))
    size = np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    if not values[0] > SINGULAR:
        raise np.linalg.LinAlgError("singular information")
    root = vectors / np.sqrt(values) / size[:, None]
    return root @ root.T


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value (of N) that makes sum(weights * |it - values|) least. weights: (N,) >= 0."""
    order = np.argsort(values)
    running = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(running, 0.5 * running[-1])])
