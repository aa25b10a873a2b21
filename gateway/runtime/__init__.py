"""Execution environments as real processes, and what runs inside them."""
