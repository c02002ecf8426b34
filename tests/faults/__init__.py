"""Everything that may break, broken: real processes on loopback, ended at named points."""
