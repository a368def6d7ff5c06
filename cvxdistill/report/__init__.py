"""What people look at: tables and figures."""

from cvxdistill.report.comparison import (
    compare_table,
    comparison_markdown,
    remarks,
    time_tables,
)
from cvxdistill.report.curves import draw_bits, draw_seconds
from cvxdistill.report.sheet import draw_sheet
from cvxdistill.report.table import accuracy_table

__all__ = [
    "accuracy_table",
    "compare_table",
    "comparison_markdown",
    "draw_bits",
    "draw_seconds",
    "draw_sheet",
    "remarks",
    "time_tables",
]
