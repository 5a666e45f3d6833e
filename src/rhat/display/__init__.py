"""How numbers are shown: words, tables, the figures' common style, and SVG. No torch, and no question of its own."""
