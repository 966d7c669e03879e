"""The whole deploy on pyinfra's `@fake` hosts: no server, every role of every environment."""
