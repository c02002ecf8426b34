"""The fault build: the services as they are, with a trap between two steps of theirs."""
