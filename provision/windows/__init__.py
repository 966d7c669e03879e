"""The same subjects on a Windows host: `.env`, scripts, scheduled tasks, and what they say of themselves."""
