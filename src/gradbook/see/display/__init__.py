"""How results look: text, drawings, and the player."""
