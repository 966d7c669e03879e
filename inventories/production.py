"""Production: two app servers share one Redis; the backups run beside the database. Edit, then plan."""

app = ["app1.example.com", "app2.example.com"]
redis = [("redis1.example.com", {"redis_bind": ["127.0.0.1", "-::1", "10.0.0.5"]})]
backup = ["db1.example.com"]
# vault = ["vault1.example.com"]  # fetches and proves the backups: another building, other administrators
