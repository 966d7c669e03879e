"""This machine itself, with every role."""

app = ["@local"]
redis = ["@local"]
backup = ["@local"]
