"""Heads side by side with the same problems in other libraries, in one run."""
