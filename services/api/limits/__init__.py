"""How much each caller may start, run and use."""
