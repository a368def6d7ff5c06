"""One differentiable layer for one shape of a user's problem: built, solved, checked."""

import warnings
from collections.abc import Mapping
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from cvxpylayers.torch import CvxpyLayer
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.heads.cvxpy_backend import SOLVE_LOCK, CheckedConeSolver
from cvxdistill.heads.cvxpy_check import check_gradient, check_own_problem
from cvxdistill.heads.cvxpy_problems import ConvexFit, Factory


class FitLayer:
    """The user's problem for `m` examples, `d` features and `C` classes, as a layer.

    Args:
        factory: makes the problem; called once, here.
        shape: `(m, d, C)`.
        features: `(m, d)` to bake in as constants, or `None` for a parameter.
        solvers: names in the order in which they are tried.
        options: of the solvers, by name.
        derivative: `auto`, `dense`, `lsmr` or `lsqr`.
        tolerance: largest relative residual that is accepted.

    Raises:
        InputError: the factory's problem is not what a layer can take.
    """

    def __init__(
        self,
        factory: Factory,
        shape: tuple[int, int, int],
        features: np.ndarray | None,
        *,
        solvers: tuple[str, ...],
        options: Mapping[str, Mapping[str, Any]],
        derivative: str,
        tolerance: float,
    ) -> None:
        m, d, classes = shape
        self._labels = cp.Parameter((m, classes), name="labels")
        self._l2 = cp.Parameter(nonneg=True, name="l2")
        self._features: Any = (
            cp.Parameter((m, d), name="features") if features is None else cp.Constant(features)
        )
        self._tolerance = tolerance
        self._gradient_checked = False
        with SOLVE_LOCK:
            fit = factory(self._features, self._labels, self._l2)
            _check_fit(fit, shape)
            own = [self._features, self._labels, self._l2]
            used = _check_parameters(fit.problem, own, features is None)
            self._used = [any(parameter is one for one in used) for parameter in own]
            self._fit = fit
            self._variables = fit.problem.variables()
            self._solver = CheckedConeSolver(solvers, options, derivative, tolerance)
            parameters = [p for p, needed in zip(own, self._used, strict=True) if needed]
            try:
                with warnings.catch_warnings():
                    # Broadcasting, as in `Z @ W + b`, makes cvxpy change its backend and say so.
                    warnings.filterwarnings("ignore", message=r".*Defaulting to the SCIPY backend")
                    self._layer = CvxpyLayer(
                        fit.problem, parameters, self._variables, solver=self._solver
                    )
            except (cp.error.SolverError, ValueError, NotImplementedError) as error:
                raise InputError(
                    "the factory's problem must reduce to linear, second-order, exponential and "
                    f"semidefinite cones; cvxpy says: {error}. Write it with other atoms."
                ) from error

    @property
    def constant_features(self) -> bool:
        """Whether the features are baked in."""
        return not isinstance(self._features, cp.Parameter)

    @property
    def has_intercept(self) -> bool:
        """Whether the problem has an intercept."""
        return self._fit.intercept is not None

    @property
    def uses_l2(self) -> bool:
        """Whether the penalty's weight occurs in the problem."""
        return self._used[2]

    def solve(self, features: Tensor | None, labels: Tensor, l2: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for labels `(..., m, C)`, float64 on the CPU, with at most one leading dimension.

        Args:
            features: `(..., m, d)`, or `None` where they are constants.
            labels: `(..., m, C)`.
            l2: `(...)`.

        Returns:
            Weights `(..., d, C)` and intercept `(..., C)`.

        Raises:
            SolveError: no solver's answer stands the checks.
        """
        given = [features, labels, l2]
        tensors = [t for t, needed in zip(given, self._used, strict=True) if needed]
        with SOLVE_LOCK:
            self._solver.solved.clear()
            self._solver.objectives.clear()
            values = dict(zip(self._variables, self._layer(*tensors), strict=True))
            self._check(features, labels, l2, values)
        weights = values[self._fit.weights]
        if not self.has_intercept:
            return weights, weights.new_zeros(*weights.shape[:-2], weights.shape[-1])
        return weights, values[self._fit.intercept]

    def check_gradient(
        self,
        features: Tensor | None,
        labels: Tensor,
        l2: Tensor,
        *,
        tolerance: float,
        action: str,
    ) -> None:
        """Compare the gradient with finite differences, once in the life of the layer.

        Raises:
            SolveError: it is wrong, and `action` is `refuse`.
        """
        if self._gradient_checked:
            return
        fixed = None if features is None else features.detach()

        def outputs(y: Tensor) -> Tensor:
            weights, intercept = self.solve(fixed, y, l2.detach())
            return torch.cat([weights.flatten(), intercept.flatten()])

        check_gradient(outputs, labels.detach(), tolerance=tolerance, action=action)
        self._gradient_checked = True

    def _check(
        self, features: Tensor | None, labels: Tensor, l2: Tensor, values: dict[Any, Tensor]
    ) -> None:
        """Check each member of the batch in the user's own problem."""
        problem = self._fit.problem
        sign = 1.0 if isinstance(problem.objective, cp.Minimize) else -1.0
        batched = next(iter(values.values())).ndim > len(self._variables[0].shape)
        for index, (solved, objective) in enumerate(
            zip(self._solver.solved, self._solver.objectives, strict=True)
        ):
            own = (self._features, self._labels, self._l2)
            given = zip(own, (features, labels, l2), strict=True)
            for parameter, value in given:
                if value is not None:
                    one = value[index] if value.ndim > len(parameter.shape) else value
                    parameter.save_value(one.detach().numpy())
            check_own_problem(
                problem,
                {
                    variable: (value[index] if batched else value).detach().numpy()
                    for variable, value in values.items()
                },
                objective=sign * objective,
                gap=solved.residuals.gap,
                tolerance=self._tolerance,
            )


def _check_fit(fit: object, shape: tuple[int, int, int]) -> None:
    """Check what a factory returned, apart from its parameters."""
    if not isinstance(fit, ConvexFit):
        raise InputError(
            f"the factory must return a ConvexFit; got {type(fit).__name__}. Return "
            "ConvexFit(problem, weights=..., intercept=...)."
        )
    _, d, classes = shape
    wanted: list[tuple[str, Any, tuple[int, ...]]] = [("weights", fit.weights, (d, classes))]
    if fit.intercept is not None:
        wanted.append(("intercept", fit.intercept, (classes,)))
    known = {variable.id for variable in fit.problem.variables()}
    for name, variable, size in wanted:
        if not isinstance(variable, cp.Variable) or variable.shape != size:
            raise InputError(
                f"`{name}` of the factory's fit must be a cvxpy.Variable of shape {size}; got "
                f"{type(variable).__name__} of shape {getattr(variable, 'shape', None)}."
            )
        if variable.id not in known:
            raise InputError(
                f"`{name}` must occur in the factory's problem; it does not. Use it in the "
                "objective or a constraint."
            )
    problem = fit.problem
    if problem.is_mixed_integer():
        raise InputError(
            "the factory's problem must be continuous; it has integer or boolean variables, and "
            "so no gradient. Relax them."
        )
    if not problem.is_dcp():
        raise InputError(
            "the factory's problem must be convex by cvxpy's rules (DCP); it is not. "
            f"Problem: {problem}"
        )
    if not problem.is_dcp(dpp=True):
        raise InputError(
            "the factory's problem must be DPP: a parameter may multiply variables, never another "
            "parameter. Give the product of features and weights a variable of its own, as "
            "cvxdistill.heads.cvxpy_problems.logistic does."
        )


def _check_parameters(problem: Any, own: list[Any], features_vary: bool) -> list[Any]:
    """Return the parameters that the problem uses, if they are those that the factory was given."""
    used = list(problem.parameters())
    foreign = [parameter for parameter in used if all(parameter is not mine for mine in own)]
    if foreign:
        raise InputError(
            "the factory must use only the features, labels and l2 that it is given; got other "
            f"parameters: {', '.join(p.name() for p in foreign)}. Build a new problem at every "
            "call, with other numbers as constants."
        )
    if all(parameter is not own[1] for parameter in used):
        raise InputError("the factory's problem must depend on the labels; it does not.")
    if features_vary and all(parameter is not own[0] for parameter in used):
        raise InputError("the factory's problem must depend on the features; it does not.")
    return used
