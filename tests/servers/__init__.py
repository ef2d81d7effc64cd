"""Real servers for the tests: on free loopback ports, with data of their own, gone when the test run ends, however it
ends.
"""
