"""How results look: plots, tables, notebooks, pictures, films. Nothing below imports it."""
