"""The data that OmniQ is about: plain typed structs, no behaviour that does I/O."""
