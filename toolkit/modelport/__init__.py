"""From the notebook to production in one cell."""
