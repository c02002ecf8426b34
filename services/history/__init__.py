"""The history service: completion events in, MongoDB out; answers session queries."""
