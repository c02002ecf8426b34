"""Servers and waits that several suites need."""
