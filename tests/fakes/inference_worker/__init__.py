"""A worker without a broker and without an engine."""
