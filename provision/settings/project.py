"""Where this project lies on the machine that deploys."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
