"""Staging: one server that is all three. Edit the name, then `make plan ENV=staging`."""

app = ["staging.example.com"]
redis = ["staging.example.com"]
backup = ["staging.example.com"]
