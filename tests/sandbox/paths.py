"""Where the sandbox keeps what it makes: all under the git-ignored `.sandbox/` of this checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = CHECKOUT / ".sandbox"
DEFAULT_INVENTORY = CHECKOUT / "inventories" / "sandbox.py"
SECRETS_FILE = CHECKOUT / ".secrets" / "sandbox.env"

PRIVATE_KEY = STATE / "id_ed25519"
PUBLIC_KEY = STATE / "id_ed25519.pub"
KNOWN_HOSTS = STATE / "known_hosts"
SSH_CONFIG = STATE / "ssh_config"
LOCK = STATE / "lock"
ENGINE_LOG = STATE / "dockerd.log"
ENGINE_RECORD = STATE / "dockerd.pid"
PUBLIC_KEYS = CHECKOUT / "inventories/keys/sandbox"
