"""The one host of `python -m bench backup`: a database server that backs itself up."""

backup = [
    (
        "benchdb",
        {"sandbox_release": "trixie", "sandbox_address": "10.213.91.11", "sandbox_profile": "postgresql"},
    )
]
