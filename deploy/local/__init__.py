"""All in one without containers: what ``parley up`` starts and how."""
