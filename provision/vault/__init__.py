"""Copies that outlive the backup host: encrypted there, fetched, proven and signed on another machine."""
