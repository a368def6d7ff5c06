"""Any convex fit that cvxpy can write, as a head."""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_matrix, check_positive
from cvxdistill.errors import IncompatibleError, InputError
from cvxdistill.heads.base import Head
from cvxdistill.heads.cvxpy_problems import Factory, elastic_net
from cvxdistill.heads.fit import LinearFit

if TYPE_CHECKING:
    from cvxdistill.heads.cvxpy_layer import FitLayer

SOLVERS = ("CLARABEL", "SCS")
DERIVATIVES = ("auto", "dense", "lsmr", "lsqr")
GRADIENT_CHECKS = ("refuse", "warn", "off")
L2_SCALES = ("trace", "absolute")

# Products of a feature parameter and a weight, m d C, above which cvxpy's matrix of them takes
# gigabytes and minutes.
PRODUCT_LIMIT = 100_000

# Below this size, answers were wrong without a sign of it in any residual.
SMALLEST_COLUMN = 1e-4


class LayerCache:
    """The last few layers, built on demand; a copy or a pickle of it starts empty."""

    def __init__(self) -> None:
        self._layers: OrderedDict[tuple[object, ...], FitLayer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._layers)

    def get(
        self, key: tuple[object, ...], build: Callable[[], "FitLayer"], limit: int
    ) -> "FitLayer":
        """Return the layer of `key`, built if need be; the least recently used one goes."""
        layer = self._layers.pop(key, None) or build()
        self._layers[key] = layer
        while len(self._layers) > limit:
            self._layers.popitem(last=False)
        return layer

    def __reduce__(self) -> tuple[type["LayerCache"], tuple[()]]:
        return LayerCache, ()


@dataclasses.dataclass(frozen=True)
class CvxpyHead(Head):
    r"""Any convex fit written in cvxpy: differentiable once, in features, labels and `l2`.

    For penalties, losses and constraints that no other head has; where one has them, prefer it,
    since a generic cone layer is hundreds of times slower. `factory(features, labels, l2)` gets
    cvxpy expressions of shapes `(m, d)`, `(m, C)` and `()` and returns a
    [ConvexFit][cvxdistill.heads.cvxpy_problems.ConvexFit]:

        W(Y) = argmin over W in a convex set of  f(W; Zb, Y, lam),
        lam = l2 * trace(Kb) / m  or  l2,

    with `Kb` the Gram matrix of the features, centred where the fit has an intercept. Features
    that need no gradient are baked into the problem as constants, which is much faster; each new
    feature matrix then costs one build. Everything runs in float64 on the CPU, one solve at a
    time; dtype and device of the features come back.

    No answer is taken on trust. Status, optimality conditions, the user's own constraints and
    objective are checked at every solve, and the gradient in the labels against central
    differences when a layer is first used for one.

    Args:
        factory: makes the problem, anew at every call; see `cvxdistill.heads.cvxpy_problems`.
        l2: strength of the penalty; a number, or a scalar tensor to differentiate through.
        l2_scale: `trace` (relative to the mean squared norm of a feature row) or `absolute`.
        solvers: tried in this order until an answer stands the checks: `CLARABEL` (interior
            point, exact), `SCS` (first order).
        solver_options: overrides by solver, as in `{"CLARABEL": {"max_iter": 500}}`.
        derivative: how diffcp solves for the gradient: `dense` (exact), `lsmr` and `lsqr`
            (iterative), or `auto`: `dense` up to 1,200 unknowns, then `lsmr`.
        tolerance: largest relative residual of an accepted answer.
        gradient_check: `refuse` a wrong gradient, `warn`
            ([GradientWarning][cvxdistill.errors.GradientWarning]), or `off`.
        gradient_tolerance: largest relative error of a directional derivative.
        max_layers: how many layers are kept.

    Raises:
        InputError: unknown option, or a number out of range.

    References:
        Agrawal et al. 2019, "Differentiable convex optimization layers",
        https://arxiv.org/abs/1910.12430

    Example:
        >>> from cvxdistill.heads.cvxpy_problems import simplex_weights
        >>> Z = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> fit = CvxpyHead(simplex_weights, l2=0.0).fit(Z, torch.tensor([[3.0], [2.0]]))
        >>> [round(weight, 4) for weight in fit.weights.flatten().tolist()]
        [1.0, 0.0]
    """

    factory: Factory = elastic_net
    l2: float | Tensor = 1e-3
    l2_scale: str = "trace"
    solvers: tuple[str, ...] = SOLVERS
    solver_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=dict, hash=False
    )
    derivative: str = "auto"
    tolerance: float = 1e-6
    gradient_check: str = "refuse"
    gradient_tolerance: float = 1e-3
    max_layers: int = 4
    _cache: LayerCache = dataclasses.field(
        default_factory=LayerCache, init=False, repr=False, compare=False
    )

    double_backward: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise InputError(
                "`factory` must be a function (features, labels, l2) -> ConvexFit; got "
                f"{type(self.factory).__name__}. Pass the function, not the problem it makes."
            )
        if not isinstance(self.solvers, tuple) or not self.solvers:
            raise InputError(
                f"`solvers` must be a tuple of names, as in ('CLARABEL',); got {self.solvers!r}."
            )
        for name in (*self.solvers, *self.solver_options):
            check_choice("solvers", name, SOLVERS)
        check_choice("l2_scale", self.l2_scale, L2_SCALES)
        check_choice("derivative", self.derivative, DERIVATIVES)
        check_choice("gradient_check", self.gradient_check, GRADIENT_CHECKS)
        l2 = self.l2.detach() if isinstance(self.l2, Tensor) else self.l2
        check_positive("l2", float(l2), zero=True)
        check_positive("tolerance", self.tolerance)
        check_positive("gradient_tolerance", self.gradient_tolerance)
        check_positive("max_layers", self.max_layers)

    def fit(self, features: Tensor, labels: Tensor) -> LinearFit:
        """Fit to `features (..., m, d)` and `labels (..., m, C)`; one fit a leading index.

        Raises:
            InputError: shapes that do not fit, entries that are not finite, a factory that does
                not make a DPP problem, or features with a gradient in too large a problem.
            SolveError: an infeasible, unbounded or ill-scaled problem, a solver that stopped
                early, or a gradient that finite differences contradict; with status and numbers.
        """
        check_matrix("features", features)
        check_matrix("labels", labels, rows=features.shape[-2])
        batch = _common_batch(features, labels)
        z = features.to("cpu", torch.float64)
        y = labels.to("cpu", torch.float64)
        if not batch:
            weights, intercept = self._fit(z, y)
        else:
            y = y.expand(*batch, *y.shape[-2:]).flatten(0, -3)
            if z.ndim > 2:
                z = z.expand(*batch, *z.shape[-2:]).flatten(0, -3)
            weights, intercept = self._fit(z, y)
            weights = weights.reshape(*batch, *weights.shape[1:])
            intercept = intercept.reshape(*batch, *intercept.shape[1:])
        weights, intercept = _FirstOrder.apply(weights, intercept)
        return LinearFit(
            weights.to(features.device, features.dtype),
            intercept.to(features.device, features.dtype),
        )

    def _fit(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Fit with at most one leading dimension, as constants where that is possible."""
        size = z.shape[-2] * z.shape[-1] * y.shape[-1]
        varying = z.requires_grad and torch.is_grad_enabled()
        if varying and size > PRODUCT_LIMIT:
            raise InputError(
                f"features with a gradient must keep m * d * C below {PRODUCT_LIMIT:,}; got "
                f"{z.shape[-2]} * {z.shape[-1]} * {y.shape[-1]} = {size:,}, for which cvxpy needs "
                "gigabytes. Detach the features, use fewer, or use RidgeHead."
            )
        if varying or (z.ndim > 2 and size <= PRODUCT_LIMIT):
            return self._solve(self._layer(z, y, None), z, y)
        if z.ndim == 2:
            return self._solve(self._layer(z, y, z), z, y)
        fits = [
            self._solve(self._layer(one, own, one), one, own) for one, own in zip(z, y, strict=True)
        ]
        weights, intercepts = zip(*fits, strict=True)
        return torch.stack(weights), torch.stack(intercepts)

    def _solve(self, layer: "FitLayer", z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        l2 = torch.as_tensor(self.l2, dtype=torch.float64, device="cpu")
        if l2.requires_grad and not layer.uses_l2:
            raise InputError("`l2` has a gradient, but the factory's problem does not use it.")
        seen = z - z.mean(-2, keepdim=True) if layer.has_intercept else z
        if self.l2_scale == "trace":
            l2 = l2 * seen.square().sum((-2, -1)) / z.shape[-2]
        _check_scale(seen.detach(), l2.detach() if layer.uses_l2 else torch.zeros(()))
        given = None if layer.constant_features else z
        needs_grad = z.requires_grad or y.requires_grad or l2.requires_grad
        if self.gradient_check != "off" and needs_grad and torch.is_grad_enabled():
            layer.check_gradient(
                given if given is None or given.ndim == 2 else given[0],
                y if y.ndim == 2 else y[0],
                l2 if l2.ndim == 0 else l2[0],
                tolerance=self.gradient_tolerance,
                action=self.gradient_check,
            )
        return layer.solve(given, y, l2)

    def _layer(self, z: Tensor, y: Tensor, constant: Tensor | None) -> "FitLayer":
        # cvxpy takes a second to import, and most runs never need it.
        from cvxdistill.heads.cvxpy_layer import FitLayer

        shape = (z.shape[-2], z.shape[-1], y.shape[-1])
        baked = None if constant is None else constant.detach().contiguous().numpy()
        digest = None if baked is None else hashlib.sha256(baked.tobytes()).hexdigest()

        def build() -> FitLayer:
            return FitLayer(
                self.factory,
                shape,
                None if baked is None else baked.copy(),
                solvers=tuple(self.solvers),
                options=self.solver_options,
                derivative=self.derivative,
                tolerance=self.tolerance,
            )

        return self._cache.get((*shape, digest), build, self.max_layers)


def _common_batch(features: Tensor, labels: Tensor) -> tuple[int, ...]:
    """Return the leading dimensions to which both are expanded."""
    ours, theirs = features.shape[:-2], labels.shape[:-2]
    try:
        return tuple(torch.broadcast_shapes(ours, theirs))
    except RuntimeError as error:
        raise InputError(
            "leading dimensions of `features` and `labels` must agree or be 1; got "
            f"{tuple(ours)} and {tuple(theirs)}."
        ) from error


def _check_scale(seen: Tensor, lam: Tensor) -> None:
    """Refuse feature columns whose weights would be larger than a cone solver can find.

    Such weights leave no trace in the residuals: the solver's answer is a constant prediction
    that looks optimal. A penalty above the column's sum of squares makes the weight small.
    """
    size = seen.abs().amax(-2)
    hidden = (size > 0) & (size < SMALLEST_COLUMN)
    hidden &= seen.square().sum(-2) > lam[..., None]
    if bool(hidden.any()):
        column = int(hidden.nonzero()[0, -1])
        raise InputError(
            f"feature columns must vary by {SMALLEST_COLUMN} or more, or be penalised; got "
            f"{int(hidden.sum())} ill-scaled ones, the first column {column} of size "
            f"{float(size[hidden][0]):.1e}. Scale the features towards 1, or raise `l2`."
        )


class _FirstOrder(torch.autograd.Function):
    """The identity, once differentiable: asked for a graph of its gradient, it says so."""

    @staticmethod
    def forward(_ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            raise IncompatibleError(
                "CvxpyHead is differentiable once; a gradient was asked for with "
                "create_graph=True. Use RidgeHead, KernelRidgeHead or LogisticHead for second "
                "derivatives."
            )
        return gradients
