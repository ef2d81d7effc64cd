"""One driver per store. They load lazily, by URL scheme, through `omniq.backends.registry`."""
