"""The task contract, action spaces, and the batched environment."""
