"""What the gateway's use cases ask of the world outside, and the values that cross."""
