"""Deployment files, starting nodes, exercising them."""
