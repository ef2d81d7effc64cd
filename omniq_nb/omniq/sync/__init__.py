"""OmniQ without ``await``: the same names, typed, for scripts, threads and cells.

The classes are generated from the asynchronous ones by ``scripts/generate_sync.py``; `portal` and `twin`, on which they
stand, are written by hand. What is public is exported by `omniq` itself.
"""
