"""Balanced logistic regression: one probability from several numbers of a row, each class weighing half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
RIDGE = 1e-3  # weight of the squared coefficients beside the mean loss: columns that say the same share it


@dataclass(frozen=True)
class LogisticFit:
    """p(true) = sigmoid(bias + sum over columns of coefficient * (value - mean) / deviation).

    Attributes:
        names: Names of the columns, in their order.
        means: Mean of each column over the rows that it was fitted on.
        deviations: Standard deviation of each, 1 for a constant column.
        coefficients: Weight of each standardised column.
        bias: Log-odds of a row whose columns are all at their means.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    coefficients: tuple[float, ...]
    bias: float

    def log_odds(self, rows: ArrayLike) -> Floats:
        """Log-odds `(n,)` of rows `(n, columns)`."""
        values = np.asarray(rows, dtype=np.float64)
        found: Floats = (values - self.means) / self.deviations @ np.asarray(self.coefficients) + self.bias
        return found

    def probabilities(self, rows: ArrayLike) -> Floats:
        """Probability `(n,)` that each row is true, where true and false ones are equally common."""
        found: Floats = expit(self.log_odds(rows))
        return found


def fit_logistic(rows: ArrayLike, labels: ArrayLike, names: Sequence[str], ridge: float = RIDGE) -> LogisticFit:
    """Fit `labels` `(n,)`, true or false, by `rows` `(n, columns)`; the true rows weigh as much as the false ones together.

    The classes' weights are those of King and Zeng (Political Analysis 2001), with both classes equally common; the loss is
    convex, so that the result does not depend on where the search begins.

    Raises:
        ValueError: A number is not finite, shapes do not fit, or all labels are the same.
    """
    values, true = np.asarray(rows, dtype=np.float64), np.asarray(labels, dtype=bool)
    if values.ndim != 2 or values.shape != (len(true), len(names)):
        raise ValueError(f"expected a label and {len(names)} numbers for each row, got shapes {values.shape} and {true.shape}")
    if not np.isfinite(values).all():
        raise ValueError("rows hold NaN or infinite numbers: leave them out")
    if true.all() or not true.any():
        raise ValueError(f"expected true and false rows, got {len(true)} that are all the same")
    means, deviations = values.mean(axis=0), values.std(axis=0)
    deviations[deviations < 1e-12] = 1.0
    columns = (values - means) / deviations
    weights = np.where(true, 0.5 / true.sum(), 0.5 / (~true).sum())
    found = minimize(_loss, np.zeros(len(names) + 1), args=(columns, true, weights, ridge), jac=True, method="L-BFGS-B")
    *coefficients, bias = map(float, found.x)
    return LogisticFit(tuple(names), tuple(means.tolist()), tuple(deviations.tolist()), tuple(coefficients), bias)


def _loss(beta: Floats, columns: Floats, true: NDArray[np.bool_], weights: Floats, ridge: float) -> tuple[float, Floats]:
    """Weighted mean cross-entropy with the ridge, and its gradient; the bias, which is last, is not shrunk."""
    odds = columns @ beta[:-1] + beta[-1]
    loss = weights @ np.logaddexp(0, np.where(true, -odds, odds)) + ridge / 2 * beta[:-1] @ beta[:-1]
    error = weights * (expit(odds) - true)
    return float(loss), np.append(columns.T @ error + ridge * beta[:-1], error.sum())
