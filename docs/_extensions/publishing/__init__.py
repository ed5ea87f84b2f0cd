"""What is found and fetched: search, cards and tags, feeds, plain text, hosting."""
