"""The runtime: the model server that every deployed model runs in."""
