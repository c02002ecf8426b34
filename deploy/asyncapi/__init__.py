"""The AsyncAPI document of everything that is not a plain HTTP request."""
