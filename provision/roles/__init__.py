"""One role a file, each a pyinfra deploy that reads like its own table of contents."""
