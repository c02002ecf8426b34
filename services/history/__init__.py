"""Sessions, messages and usage: stored exactly once from the events, read by queries."""
