"""Production's differences: private addresses, and an administrator who may use sudo."""

ssh_user = "deploy"
_sudo = True
ssh_known_hosts_file = "inventories/known_hosts/production"  # `make known-hosts ENV=production` pins what is in it

redis_host = "10.0.0.5"
postgres_host = "10.0.0.8"
