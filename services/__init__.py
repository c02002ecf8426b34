"""The services of Parley; they meet only in ``shared.contracts``."""
