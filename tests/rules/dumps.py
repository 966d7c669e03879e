"""Dumps that somebody has planted: each would have a program make the file {}, as whoever restores it.

bash and PowerShell are both asked: neither runs it, and both refuse the dump.
"""

from __future__ import annotations

_TABLE = "CREATE TABLE planted (a text);\n"

COMMANDS = [
    "\\! touch {}",
    "SELECT 1 \\! touch {}",
    "\t \\!touch {}",
    "\r\n\\! touch {}\r\n",
    "\ufeff\\! touch {}",
    "\x0c\\! touch {}",
    "\\o |touch {}\nSELECT 1;",
    "SELECT 1 \\g |touch {}",
    "SELECT 1 \\gx |touch {}",
    "SELECT 'SELECT 1 \\! touch {}' \\gexec",
    "\\w |touch {}",
    "\\copy (SELECT 1) to program 'touch {}'",
    "\\COPY (SELECT 1) TO PROGRAM 'touch {}'",
    _TABLE + "\\copy planted from program 'touch {}'",
    "COPY (SELECT 1) TO PROGRAM 'touch {}';",
    _TABLE + "COPY planted FROM PROGRAM 'touch {}';",
    "\\set x `touch {}`",
    "\\setenv PAGER 'touch {}'\n\\pset pager always\nSELECT 1;",
    "\\if `touch {}`\n\\endif",
    "\\connect postgres\n\\! touch {}",
    "\\i /dev/stdin\n\\! touch {}",
    "\\e\n\\! touch {}",
    "\\restrict A\n\\unrestrict A\n\\! touch {}",
    "\\unrestrict A\n\\! touch {}",
    "\\restrict A\n\\restrict A\n\\unrestrict A\n\\! touch {}",
    "/* /* */ */ \\! touch {}\n;",
    "SELECT $a$ $b$ $a$ \\! touch {}\n;",
    "SET standard_conforming_strings = off; SELECT 'a\\' \\! touch {}\n';",
    _TABLE + "COPY planted FROM stdin;\n\\.\n\\! touch {}",
    _TABLE + "COPY planted FROM stdin;\n\\.\r\n\\! touch {}\n\\.",
    _TABLE + "COPY planted FROM stdin;\na\x00\n\\.\n\\! touch {}",
    _TABLE + "copy planted from stdin with (format csv);\n\\.\n\\! touch {}",
    "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC SELECT 1;\nCOPY t FROM stdin;\n\\! touch {}\n\\.\nEND;",
    "SELECT 1;\x00\n\\! touch {}",
    "-- \x00\n\\! touch {}",
]
