"""The adapter to cvxpylayers: cone programs solved through a chain of solvers, each answer checked.

The only module that knows the inner names of cvxpylayers and diffcp. cvxpylayers' own route drops
the status of CLARABEL, so that an infeasible problem returns numbers; its documented extension
point, a `SolverInterface`, hands over the cone program instead, and the answer is checked here.
"""

import dataclasses
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import diffcp  # type: ignore[import-untyped]
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.solvers.conic_solvers.scs_conif import dims_to_solver_dict
from cvxpylayers.interfaces.base import SolverInterface

from cvxdistill.errors import SolveError
from cvxdistill.heads.cvxpy_check import ConeProgram, Residuals, cone_residuals

# cvxpylayers keeps the batch sizes of a call on the shared layer, and `warnings.catch_warnings` is
# process-wide: one solve at a time.
SOLVE_LOCK = threading.RLock()

# Tight first, so that central differences of the solution have five correct digits. CLARABEL may
# stall on the way to 1e-11 and hand back less than it had at its own 1e-8: hence a second try.
DEFAULT_OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "CLARABEL": tuple(
        {"tol_gap_abs": tol, "tol_gap_rel": tol, "tol_feas": tol, "max_iter": 200}
        for tol in (1e-11, 1e-8)
    ),
    "SCS": ({"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 20_000},),
}

# Above this size of the derivative's linear system, dense least squares takes seconds and grows
# with the cube; lsmr's tolerance is a hundred times tighter than that of the default, lsqr.
DENSE_LIMIT = 1200

_SOLVED = frozenset({"solved"})
_NO_SOLUTION = ("infeasible", "unbounded")


def is_inaccurate(status: str) -> bool:
    """Return whether a solver calls its own answer inaccurate, which our residuals then judge."""
    word = status.lower()
    return "inaccurate" in word and not any(end in word for end in _NO_SOLUTION)


@dataclasses.dataclass(frozen=True, eq=False)
class SolvedCone:
    """An accepted answer of a solver, with what the backward pass needs.

    Attributes:
        solver: who gave it.
        status: in the solver's words.
        residuals: as computed here.
        adjoint: of the solution map, or `None` where no gradient was asked for.
    """

    solver: str
    status: str
    residuals: Residuals
    adjoint: Any
    offset_rows: np.ndarray


class CheckedConeSolver(SolverInterface):  # type: ignore[misc]
    """Solves the cone program of a layer with the first solver whose answer stands our checks.

    Args:
        solvers: names in the order in which they are tried.
        options: overrides of `DEFAULT_OPTIONS`, by solver.
        derivative: `dense`, `lsmr`, `lsqr`, or `auto` by size.
        tolerance: largest relative residual that is accepted.
    """

    canon_solver = "DIFFCP"

    def __init__(
        self,
        solvers: tuple[str, ...],
        options: Mapping[str, Mapping[str, Any]],
        derivative: str,
        tolerance: float,
    ) -> None:
        self.attempts: list[tuple[str, dict[str, Any]]] = []
        for name in solvers:
            for defaults in DEFAULT_OPTIONS[name]:
                attempt = (name, {**defaults, **options.get(name, {})})
                if attempt not in self.attempts:
                    self.attempts.append(attempt)
        self.derivative = derivative
        self.tolerance = tolerance
        self.solved: list[SolvedCone] = []
        self.objectives: list[float] = []

    def setup(self, ctx: Any) -> None:
        """Keep the sparsity of the cone program; cvxpylayers hands over only its nonzeros."""
        self._indices, self._pointers, self._shape = ctx.reduced_A.problem_data_index

    def solve_numpy(
        self,
        P: np.ndarray | None,  # noqa: ARG002
        q: np.ndarray,
        A: np.ndarray,
        dims: Any,
        solver_args: Any,  # noqa: ARG002
        needs_grad: bool,
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Solve `min c'x, Ax + s = b, s in a cone`; `A` holds the nonzeros of `[-A b]`.

        Raises:
            SolveError: no solver gave an answer that stands the checks.
        """
        joint = sp.csc_matrix((A, self._indices, self._pointers), shape=self._shape)
        program = ConeProgram(
            -joint[:, :-1], joint[:, -1].toarray().ravel(), q[:-1].copy(), dims_to_solver_dict(dims)
        )
        reports: list[str] = []
        for solver, options in self.attempts:
            result, report = self._attempt(solver, options, program, needs_grad)
            if result is None:
                reports.append(report)
                if any(word in report.lower() for word in _NO_SOLUTION):
                    break
                continue
            start, end = self._pointers[-2:]
            self.solved.append(
                SolvedCone(
                    solver,
                    result["info"]["status"],
                    result["residuals"],
                    result.get("DT"),
                    self._indices[start:end],
                )
            )
            self.objectives.append(float(program.c @ result["x"]) + float(q[-1]))
            return result["x"], result["y"], self.solved[-1]
        raise SolveError(
            f"expected a solution of the user's problem; got {'; '.join(reports)}. Check that the "
            "constraints can hold and the objective is bounded, scale features and labels towards "
            "1, raise `l2`, or raise the solver's step limit in `solver_options`."
        )

    def derivative_numpy(
        self,
        dprimal: np.ndarray,
        ddual: np.ndarray,
        saved_state: SolvedCone,
    ) -> tuple[None, np.ndarray, np.ndarray]:
        """Return the gradient in the nonzeros of the cone program.

        Raises:
            SolveError: the derivative's linear system could not be solved.
        """
        rows = saved_state.offset_rows
        slack = np.zeros_like(ddual)
        try:
            d_a, d_b, d_c = saved_state.adjoint(np.array(dprimal), np.array(ddual), slack)
        except BaseException as error:
            raise _derivative_error(error) from error
        joint = np.hstack([-d_a.data, d_b[rows]])
        linear = np.hstack([d_c, 0.0])
        if not (np.isfinite(joint).all() and np.isfinite(linear).all()):
            raise SolveError(
                "expected a finite gradient of the user's problem; got NaN or infinity: the "
                "solution is degenerate. Add a strongly convex term, or raise `l2`."
            )
        return None, linear, joint

    def _attempt(
        self, solver: str, options: dict[str, Any], program: ConeProgram, needs_grad: bool
    ) -> tuple[dict[str, Any] | None, str]:
        """Return an accepted result, or `None` with a report of what went wrong."""
        try:
            result = self._call({"solve_method": solver, **options}, program, needs_grad)
        except diffcp.SolverError as error:
            return None, f"{solver}: status `{str(error).rpartition('status ')[2]}`"
        except BaseException as error:
            # A panic in a Rust solver is no Exception; interrupts are not ours to swallow.
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            return None, f"{solver}: {type(error).__name__}: {str(error).strip() or 'no message'}"
        status = str(result["info"]["status"])
        steps = result["info"].get("iter")
        said = f"{solver}: status `{status}` after {steps} steps"
        if status.lower() not in _SOLVED and not is_inaccurate(status):
            return None, said
        residuals = cone_residuals(program, result["x"], result["y"], result["s"])
        if not residuals.worst <= self.tolerance:
            return None, f"{said}, but {residuals} exceed the tolerance {self.tolerance:.0e}"
        result["residuals"] = residuals
        return result, said

    def _call(
        self, options: dict[str, Any], program: ConeProgram, needs_grad: bool
    ) -> dict[str, Any]:
        arguments = (program.A.copy(), program.b, program.c, program.cones)
        with warnings.catch_warnings():
            # The status says the same, and is judged above.
            warnings.filterwarnings("ignore", message=r"Solved/Inaccurate\.")
            if not needs_grad:
                return dict(diffcp.solve_internal(*arguments, raise_on_error=False, **options))
            return dict(
                diffcp.solve_and_derivative_internal(
                    *arguments, mode=self._mode(program), **options
                )
            )

    def _mode(self, program: ConeProgram) -> str:
        if self.derivative != "auto":
            return self.derivative
        return "dense" if sum(program.A.shape) + 1 <= DENSE_LIMIT else "lsmr"


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"


def _derivative_error(error: BaseException) -> BaseException:
    if isinstance(error, Exception) or _is_panic(error):
        return SolveError(
            "expected a gradient of the user's problem; the derivative failed with "
            f"{type(error).__name__}: {error}. Add a strongly convex term, or raise `l2`."
        )
    return error
