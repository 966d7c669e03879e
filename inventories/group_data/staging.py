"""Staging's differences: everything on one host, reached as an administrator who may use sudo."""

ssh_user = "deploy"
_sudo = True
ssh_known_hosts_file = "inventories/known_hosts/staging"  # `make known-hosts ENV=staging` pins what is in it

backup_daily_retention_days = 7
backup_weekly_retention_days = 28
