"""What a page says and looks like: the Clinic, docstrings, mathematics, players, translations."""
