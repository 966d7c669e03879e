"""What is read from a host, one command each. Facts only read; deciding is for the pure modules."""
