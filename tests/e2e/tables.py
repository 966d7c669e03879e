"""What is in a database, whole, in a form that can be compared: rows, sequences, large objects, definitions."""

from __future__ import annotations

from collections.abc import Callable

_TABLES = """
select format('select %L, count(*), md5(string_agg(md5(t::text), $$$$ order by md5(t::text))) from %s t',
              c.oid::regclass::text, c.oid::regclass)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 order by 1 \\gexec
"""
_SEQUENCES = "select schemaname, sequencename, last_value from pg_sequences order by 1, 2;"
_LARGE_OBJECTS = "select oid, md5(lo_get(oid)) from pg_largeobject_metadata order by 1;"
_DEFINITIONS = """
select 'view', viewname, md5(definition) from pg_views where schemaname !~ '^pg_|^information_schema$'
union all select 'index', indexname, md5(indexdef) from pg_indexes where schemaname <> 'pg_catalog'
union all select 'constraint', conname, md5(pg_get_constraintdef(oid)) from pg_constraint
union all select 'trigger', tgname, md5(pg_get_triggerdef(oid)) from pg_trigger where not tgisinternal
union all select 'extension', extname, extversion from pg_extension
order by 1, 2, 3;
"""


def contents(ask: Callable[[str], str]) -> list[str]:
    """Return every table's row count and checksum, every sequence, large object and definition, a line each.

    `ask` is given SQL with psql's commands in it, and returns what psql prints.
    """
    lines = []
    for question in (_TABLES, _SEQUENCES, _LARGE_OBJECTS, _DEFINITIONS):
        answered = ask(question).splitlines()
        assert answered, "nothing to compare"
        lines += answered
    return lines
