"""Translates the source of asynchronous classes into that of their synchronous twins."""
