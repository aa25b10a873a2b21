"""What the operator asked for, checked once and turned into values."""
