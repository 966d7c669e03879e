"""Reached as the sandbox's hosts are. Each app asks the Redis beside it: no host waits for another."""

ssh_config_file = ".sandbox/ssh_config"
ssh_known_hosts_file = ".sandbox/known_hosts"

redis_host = "127.0.0.1"
