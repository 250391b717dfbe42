"""The sweep: every kind of model from training to the wire, each with its verdict."""
