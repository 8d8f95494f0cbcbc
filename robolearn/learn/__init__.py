"""Learning: PPO, training runs, checkpoints, evaluation."""
