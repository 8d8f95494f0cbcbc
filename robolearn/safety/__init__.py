"""The safety monitor, its profile and its log."""
