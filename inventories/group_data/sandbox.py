"""The sandbox: disposable hosts on a network of their own, reached through the key that `make sandbox` makes."""

ssh_config_file = ".sandbox/ssh_config"
ssh_known_hosts_file = ".sandbox/known_hosts"

redis_host = "10.213.86.21"
postgres_host = "10.213.86.31"
