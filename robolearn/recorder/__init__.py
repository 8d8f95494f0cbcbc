"""The evidence log: hash chain, signed segments, cycle codec, writer process."""
