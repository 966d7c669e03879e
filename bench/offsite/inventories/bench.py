"""The two hosts of `python -m bench offsite`: a database server, and the vault that fetches its copies."""

backup = [
    ("benchdb", {"sandbox_release": "trixie", "sandbox_address": "10.213.91.11", "sandbox_profile": "postgresql"})
]
vault = [("benchvault", {"sandbox_release": "trixie", "sandbox_address": "10.213.91.61", "sandbox_profile": "bare"})]
