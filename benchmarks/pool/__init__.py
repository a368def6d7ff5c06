"""Labels for extractors that the solve never sees: pool size, prior, and the loss."""
