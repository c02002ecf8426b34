"""What is known against the packages that Parley stands on, and whether those are installed."""
