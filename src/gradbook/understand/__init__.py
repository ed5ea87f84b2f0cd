"""Explain why: errors, missing gradients, differences from the truth."""
