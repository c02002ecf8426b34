"""Streams, consumers and buckets: the one module and identity that may create them."""
