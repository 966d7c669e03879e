"""Production's differences: private addresses, and an administrator who may use sudo."""

ssh_user = "deploy"
_sudo = True

redis_host = "10.0.0.5"
postgres_host = "10.0.0.8"
