"""Label storage: bits against accuracy."""
