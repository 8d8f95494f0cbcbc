"""How files of others are read and files of ours are written: bounded, strict, and printed without side effects."""
