"""Moments of millions of rows: memory, throughput against plain products, and what they serve."""
