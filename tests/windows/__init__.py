"""Windows hosts: the stand-in, static checks of every script, a real pg_dump.exe under wine, a real host."""
