"""Many machines: clusters."""
