"""Students: networks trained from scratch on labelled examples, side by side."""

from cvxdistill.students.augmentations import AUGMENTATIONS, Augmentation
from cvxdistill.students.graph import WORTH_RECORDING, Recorded, forget, record
from cvxdistill.students.memory import students_at_once
from cvxdistill.students.networks import (
    check_batch,
    default_student,
    draw_student,
    predict,
    quick_layout,
    student_loss,
)
from cvxdistill.students.optimisers import (
    OPTIMISERS,
    OptimiserKind,
    pack_optimiser,
    unpack_optimiser,
)
from cvxdistill.students.recipe import Recipe, batch_rows
from cvxdistill.students.stack import Students
from cvxdistill.students.tangent import check_tangent, tangent_transfers

__all__ = [
    "AUGMENTATIONS",
    "OPTIMISERS",
    "WORTH_RECORDING",
    "Augmentation",
    "OptimiserKind",
    "Recipe",
    "Recorded",
    "Students",
    "batch_rows",
    "check_batch",
    "check_tangent",
    "default_student",
    "draw_student",
    "forget",
    "pack_optimiser",
    "predict",
    "quick_layout",
    "record",
    "student_loss",
    "students_at_once",
    "tangent_transfers",
    "unpack_optimiser",
]
