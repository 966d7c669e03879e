"""Local: PostgreSQL and Redis on this machine, on their default ports."""
