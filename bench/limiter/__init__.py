"""What a check of a rate limit costs, beside the ways that one would otherwise take. `python -m bench.limiter`."""
