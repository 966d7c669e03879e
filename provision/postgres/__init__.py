"""The PostgreSQL server that is dumped, and the client that fits it."""
