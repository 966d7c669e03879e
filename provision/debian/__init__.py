"""What every Debian host has: files, packages, users, its system; facts and operations that know no subject."""
