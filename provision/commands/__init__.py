"""What `make` calls, one command a file. Each is `run(arguments) -> exit code`."""
