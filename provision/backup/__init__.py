"""Backups that run by themselves, and what they say of themselves."""
