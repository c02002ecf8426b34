"""Tests that attack: whatever is sent, the answer is one that is documented."""
