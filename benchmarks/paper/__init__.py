"""The tables of the paper, and ours beside them."""
