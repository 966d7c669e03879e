"""Proof on the hosts themselves, read-only: what the settings promise is what the servers do.

`pytest tests/verify --inventory inventories/production.py`. Expected values come from the same Settings that
the deploy used; what is there is read by another way than the code that put it there.
"""
