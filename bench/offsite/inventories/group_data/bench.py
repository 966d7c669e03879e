"""Reached as the sandbox's hosts are; the database is made by the bench."""

ssh_config_file = ".sandbox/ssh_config"
ssh_known_hosts_file = ".sandbox/known_hosts"

postgres_host = "127.0.0.1"
postgres_database = "large"
