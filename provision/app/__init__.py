"""The app on its host: its directory, its `.env`, its limiters."""
