"""What pyinfra's own operations lack: files born private, packages without a needless update, a live Redis."""
