"""Everything that speaks HTTP to clients."""
