"""Policies as files: slots, bundle, export, runtime."""
