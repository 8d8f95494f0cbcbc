"""System identification: what an arm's log says of the model it is simulated with."""
