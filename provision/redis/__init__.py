"""A Redis for the rate limits: what is there already, what should be, how one becomes the other."""
