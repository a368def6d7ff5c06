"""Label solvers beside general ones, on the same problems in the same run."""
