"""The life of one completion as the gateway sees it: admission, asking, following, cancelling."""
