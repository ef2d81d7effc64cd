"""The decisions of the queue: pure functions, no I/O, no clock of their own."""
