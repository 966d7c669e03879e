"""Reached as the sandbox's hosts are."""

ssh_config_file = ".sandbox/ssh_config"
ssh_known_hosts_file = ".sandbox/known_hosts"

redis_host = "10.213.92.11"
redis_bind = ["127.0.0.1", "10.213.92.11"]
