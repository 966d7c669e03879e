"""What a copy elsewhere costs: its encryption beside the backup, its journey beside plain `sftp`, its memory.

Two disposable hosts, one network: a database server with over 1 GB of rows, deployed to, and its vault. Their timers
are stopped, so that nothing runs but what is measured. Each turn makes a backup that lies encrypted on its host and
one that does not, encrypts that as the timer's service does, has the vault fetch it, and then fetches the same files
by OpenSSH's `sftp` with the vault's own key, once for the page cache and once for the figure. Ratios are taken turn by
turn.
"""

import os
from pathlib import Path

# Set before anything imports `provision.engine.environments`, which looks once, and inherited by every process started.
os.environ["INVENTORIES"] = str(Path(__file__).resolve().parent / "inventories")
