"""What people look at: tables and figures."""

from cvxdistill.report.sheet import draw_sheet
from cvxdistill.report.table import accuracy_table

__all__ = ["accuracy_table", "draw_sheet"]
