"""The inference worker: requests in, chunks out."""
