"""All that knows pyinfra: its runs, its inventory, its plan in words, its interrupts, its input."""
