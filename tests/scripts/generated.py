"""Databases of chance: types, constraints, collations, owners, extensions, whatever a dump may have to bring back.

What the server refuses of it is not in the database: each statement stands for itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from .cluster import ROLE

OWNERS = (ROLE, "gen_reporting", "Gen Lecteurs")
# May not be installed beside others, or need a place in the server's start.
NOT_AT_CHANCE = {"plpgsql", "adminpack", "pg_cron", "pgaudit", "pg_stat_statements", "plperlu", "plpython3u", "pltclu"}
NAMES = ("patients", "Réclamations", "select", "avec espace", "x.y", 'guil"lemets', "a$b", "été", "UPPER", "quote'd",
         "back\\slash", "-dash", "percent%20", "ORDER", "tab")  # fmt: skip
TEXTS = (
    "",
    "été",
    "a\tb",
    "\\N",
    "\\.",
    "l'âme",
    "--",
    "line\nbreak",
    "$$",
    'quo"te',
    "\u202ex",
    "COPY t FROM stdin;",
    "Ⅷ",
)

Chance = random.Random
Value = Callable[[Chance], str]


def text(chance: Chance) -> str:
    return chance.choice(TEXTS) + str(chance.randint(0, 999))


TYPES: dict[str, Value] = {
    "integer": lambda c: str(c.randint(-9999, 9999)),
    "bigint": lambda c: str(c.randint(-(2**62), 2**62)),
    "smallint": lambda c: str(c.randint(-99, 99)),
    "numeric": lambda c: c.choice(["NaN", "1e-30", "123456789012345678901234567890.5", "0.10"]),
    "numeric(12,4)": lambda c: f"{c.uniform(-1e6, 1e6):.4f}",
    "real": lambda c: repr(c.uniform(-1, 1)),
    "double precision": lambda c: c.choice(["Infinity", "-0", "1e-300", repr(c.random())]),
    "money": lambda c: str(c.randint(0, 9999)),
    "boolean": lambda c: c.choice(["t", "f"]),
    "text": text,
    "varchar(40)": text,
    "char(30)": text,
    "name": text,
    "bytea": lambda c: "\\x" + c.randbytes(c.randint(0, 20)).hex(),
    "date": lambda c: c.choice(["infinity", "0044-03-15 BC", f"20{c.randint(10, 99)}-02-28"]),
    "timestamptz": lambda c: f"20{c.randint(10, 99)}-03-29 02:30:00+0{c.randint(0, 9)}",
    "timestamp(3)": lambda c: f"19{c.randint(10, 99)}-12-31 23:59:59.{c.randint(0, 999):03}",
    "time": lambda c: f"{c.randint(0, 23):02}:00:01.5",
    "timetz": lambda c: f"{c.randint(0, 23):02}:00:01+03",
    "interval": lambda c: f"{c.randint(0, 40)} months -{c.randint(0, 40)} days 00:00:0{c.randint(0, 9)}.25",
    "uuid": lambda c: c.randbytes(16).hex(),
    "json": lambda c: '{"b": 1, "a":  [null, "\\u00e9"]}',
    "jsonb": lambda c: f'{{"b": {c.randint(0, 9)}, "a": [null, "é"]}}',
    "xml": lambda c: f"<a b='{c.randint(0, 9)}'>é</a>",
    "inet": lambda c: f"10.0.{c.randint(0, 255)}.1/24",
    "cidr": lambda c: f"10.{c.randint(0, 255)}.0.0/16",
    "macaddr8": lambda c: "08:00:2b:01:02:03:04:05",
    "integer[]": lambda c: "{1,NULL," + str(c.randint(0, 9)) + "}",
    "text[]": lambda c: '{"a,b","q\\"","NULL",NULL}',
    "point": lambda c: f"({c.randint(0, 9)},0.5)",
    "circle": lambda c: f"<(1,2),{c.randint(1, 9)}>",
    "int4range": lambda c: f"[{c.randint(0, 9)},{c.randint(10, 99)})",
    "tstzrange": lambda c: "[2020-01-01 00:00+02,)",
    "bit varying": lambda c: bin(c.randint(0, 999))[2:],
    "tsvector": lambda c: "'fat':2A 'rat':3",
    "tsquery": lambda c: "fat & (rat | !cat)",
    "pg_lsn": lambda c: f"16/{c.randint(0, 9999):X}",
}


def name(of: str) -> str:
    return '"' + of.replace('"', '""') + '"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Generated:
    """The statements that make one database, for a superuser, in order."""

    def __init__(self, chance: Chance, extensions: list[str], version: int) -> None:
        self.chance, self.version = chance, version
        self.available = [each for each in extensions if each not in NOT_AT_CHANCE]
        self.schemas, self.tables, self.types = ["public"], [], list(TYPES)
        self.of_types: dict[str, Value] = dict(TYPES)
        self.number = 0

    def statements(self) -> Iterator[str]:
        yield from self.extensions()
        yield from self.more_schemas()
        yield from self.more_types()
        yield from self.collations()
        for _ in range(self.chance.randint(1, 5)):
            yield from self.table()
        for make in self.chance.sample(OTHERS, self.chance.randint(3, len(OTHERS))):
            yield from make(self)
        yield from self.grants()
        yield from self.comments()

    def often(self, share: float = 0.5) -> bool:
        return self.chance.random() < share

    def owner(self) -> str:
        """Mostly the app's, at times somebody else's, now and then the superuser's."""
        if self.often(0.6):
            return ROLE
        return self.chance.choice(OWNERS) if self.often(0.9) else "postgres"

    def new(self) -> str:
        """A name that is taken by nothing, in one of the schemas."""
        self.number += 1
        return f"{name(self.chance.choice(self.schemas))}.{name(f'{self.chance.choice(NAMES)} {self.number}')}"

    def some_table(self) -> str:
        return self.chance.choice(self.tables)

    def given(self, kind: str, what: str) -> str:
        return f"ALTER {kind} {what} OWNER TO {name(self.owner())}"

    def extensions(self) -> Iterator[str]:
        for each in self.chance.sample(self.available, min(len(self.available), self.chance.randint(0, 4))):
            yield f"CREATE EXTENSION IF NOT EXISTS {name(each)} CASCADE"

    def more_schemas(self) -> Iterator[str]:
        for each in self.chance.sample(NAMES, self.chance.randint(0, 3)):
            yield f"CREATE SCHEMA {name(each)}"
            yield self.given("SCHEMA", name(each))
            self.schemas.append(each)

    def more_types(self) -> Iterator[str]:
        enum, domain, span, pair = (self.new() for _ in range(4))
        yield f"CREATE TYPE {enum} AS ENUM ('z', 'a', 'é''')"
        yield f"ALTER TYPE {enum} ADD VALUE 'between' BEFORE 'a'"
        yield f"CREATE DOMAIN {domain} AS varchar(9) DEFAULT 'x' NOT NULL CHECK (VALUE IN ('x', 'y') OR VALUE ~ '^z')"
        yield f"CREATE TYPE {span} AS RANGE (subtype = float8, subtype_diff = float8mi)"
        yield f"CREATE TYPE {pair} AS (a {enum}, b int, c {domain})"
        for kind, each in (("TYPE", enum), ("DOMAIN", domain), ("TYPE", span), ("TYPE", pair)):
            yield self.given(kind, each)
        self.of_types |= {enum: lambda c: c.choice(["z", "between"]), domain: lambda c: c.choice(["x", "zz"]),
                          span: lambda c: "[0.1,2)", f"{enum}[]": lambda c: "{z,a}"}  # fmt: skip

    def collations(self) -> Iterator[str]:
        self.collation = self.new()
        rules = self.chance.choice(["locale = 'fr-FR'", "locale = 'und-u-ks-level2', deterministic = false",
                                    "locale = 'de-u-co-phonebk'"])  # fmt: skip
        yield f"CREATE COLLATION {self.collation} (provider = icu, {rules})"
        yield self.given("COLLATION", self.collation)

    def column(self, at: int) -> tuple[str, str]:
        kind = self.chance.choice(list(self.of_types))
        more = ""
        if kind in ("text", "varchar(40)") and self.often(0.4):
            more += f" COLLATE {self.chance.choice([self.collation, name('C')])}"
        if self.often(0.3):
            more += f" DEFAULT {literal(self.of_types[kind](self.chance))}"
        return f"{name(f'{self.chance.choice(NAMES)}{at}')} {kind}{more}", kind

    def table(self) -> Iterator[str]:
        table, columns = self.new(), [self.column(at) for at in range(self.chance.randint(1, 8))]
        keyed = self.chance.choice(["int", "serial", "int GENERATED ALWAYS AS IDENTITY",
                                    "bigint GENERATED BY DEFAULT AS IDENTITY (START 7 INCREMENT 3)"])  # fmt: skip
        parts = [f"id {keyed} PRIMARY KEY", *(column for column, _ in columns)]
        if self.often(0.3):
            parts.append("twice bigint GENERATED ALWAYS AS (id::bigint * (2 + 0)) STORED")
        unlogged = "UNLOGGED " if self.often(0.1) else ""
        yield f"CREATE {unlogged}TABLE {table} ({', '.join(parts)})"
        yield from self.rows(table, [kind for _, kind in columns])
        yield from self.constraints(table, columns)
        yield from self.indexes(table, columns)
        if self.often(0.2):
            yield f"ALTER TABLE {table} DROP COLUMN {columns[0][0].split(' ', 1)[0]}"
        if self.often(0.3):
            yield f"ALTER TABLE {table} SET (fillfactor = {self.chance.randint(50, 99)}, autovacuum_enabled = false)"
        yield self.given("TABLE", table)
        self.tables.append(table)

    def rows(self, table: str, kinds: list[str]) -> Iterator[str]:
        number = self.chance.randint(0, 30)
        values = [
            ", ".join([str(row), *("NULL" if self.often(0.1) else literal(self.of_types[kind](self.chance))
                                   for kind in kinds)])
            for row in range(1, number + 1)
        ]  # fmt: skip
        if values:
            rows = ", ".join(f"({each})" for each in values)
            yield f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES {rows}"

    def constraints(self, table: str, columns: list[tuple[str, str]]) -> Iterator[str]:
        first = columns[0][0]
        column = first[: first.index(f" {columns[0][1]}")] if f" {columns[0][1]}" in first else "id"
        checks = ["id > -99 AND (id < 5000 OR id BETWEEN 1 AND 9999)", "id NOT IN (77, 78)",
                  "NOT (id = 99 AND id IS NULL)",
                  f"coalesce({column}::text, '') <> 'nothing' OR {column}::text IN ('a', 'b')"]  # fmt: skip
        for check in self.chance.sample(checks, self.chance.randint(0, 3)):
            yield f"ALTER TABLE {table} ADD CHECK ({check}){' NOT VALID' if self.often(0.2) else ''}"
        if self.often(0.4):
            yield f"ALTER TABLE {table} ADD CONSTRAINT {name(f'u {self.number}')} UNIQUE (id, {column})"
        if self.often(0.2):
            yield f"ALTER TABLE {table} ADD EXCLUDE USING btree (id WITH =) DEFERRABLE INITIALLY DEFERRED"
        if self.tables and self.often():
            yield f"ALTER TABLE {table} ADD other int"
            yield f"UPDATE {table} t SET other = (SELECT min(id) FROM {self.tables[-1]})"
            on = self.chance.choice(["ON DELETE CASCADE", "ON UPDATE SET NULL", "DEFERRABLE", "NOT VALID", ""])
            yield f"ALTER TABLE {table} ADD FOREIGN KEY (other) REFERENCES {self.tables[-1]} {on}"

    def indexes(self, table: str, columns: list[tuple[str, str]]) -> Iterator[str]:
        kinds = ["(id DESC NULLS LAST)", "USING hash (id)", "USING brin (id)", "((id * 2)) WHERE id IN (1, 2, 3)",
                 "(id) INCLUDE (tableoid)", "((lower(id::text)))"]  # fmt: skip
        for kind in self.chance.sample(kinds, self.chance.randint(0, 3)):
            yield f"CREATE INDEX ON {table} {kind}"
        if self.often(0.2):
            yield f"CREATE STATISTICS {self.new()} ON id, (id % 10) FROM {table}"
        if self.often(0.2):
            yield f"ALTER TABLE {table} ALTER id SET STATISTICS 200"
        if self.often(0.2):
            yield f"ALTER TABLE {table} REPLICA IDENTITY FULL"

    def partitions(self) -> Iterator[str]:
        table, of = self.new(), self.chance.choice(["RANGE (day)", "LIST (kind)", "HASH (id)"])
        bounds = {
            "RANGE (day)": ["FROM ('2025-01-01') TO ('2026-01-01')", "FROM ('2026-01-01') TO (MAXVALUE)"],
            "LIST (kind)": ["IN ('a', 'b')", "IN (NULL, 'c')"],
            "HASH (id)": ["WITH (modulus 2, remainder 0)", "WITH (modulus 2, remainder 1)"],
        }[of]
        key = {"RANGE (day)": "day", "LIST (kind)": "kind", "HASH (id)": "id"}[of]
        yield f"CREATE TABLE {table} (id int NOT NULL, day date, kind text DEFAULT 'a') PARTITION BY {of}"
        for bound in bounds:
            part = self.new()
            yield f"CREATE TABLE {part} PARTITION OF {table} FOR VALUES {bound}"
            yield self.given("TABLE", part)
        yield f"INSERT INTO {table} SELECT i, '2025-12-20'::date + i, chr(97 + i % 3) FROM generate_series(1, 40) i"
        yield f"CREATE INDEX ON {table} (kind, day)"
        yield f"ALTER TABLE {table} ADD UNIQUE ({key})" if key == "id" else f"ALTER TABLE {table} ADD CHECK (id > 0)"
        if key == "id":
            yield f"CREATE TABLE {self.new()} (ref int REFERENCES {table} (id))"
        yield self.given("TABLE", table)

    def inheritance(self) -> Iterator[str]:
        parent, child = self.new(), self.new()
        yield f"CREATE TABLE {parent} (a int CHECK (a > 0), b text DEFAULT 'p')"
        yield f"CREATE TABLE {child} (c int, b text DEFAULT 'c') INHERITS ({parent})"
        yield f"ALTER TABLE {parent} ADD d text DEFAULT 'late'"
        yield f"INSERT INTO {child} (a, c) SELECT i, -i FROM generate_series(1, 9) i"

    def functions(self) -> Iterator[str]:
        one, two, three, total = (self.new() for _ in range(4))
        yield (f"CREATE FUNCTION {one}(i int, VARIADIC x text[] DEFAULT '{{}}') RETURNS int LANGUAGE plpgsql STABLE"
               f" SECURITY DEFINER SET search_path = pg_catalog AS $f$ BEGIN RETURN i; -- é ' $$\nEND $f$")  # fmt: skip
        yield f"CREATE FUNCTION {two}(i int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT ((i) * (2)); END"
        yield f"CREATE PROCEDURE {three}(INOUT a int) LANGUAGE plpgsql AS 'BEGIN COMMIT; END'"
        yield f"CREATE AGGREGATE {total}(int) (sfunc = int4pl, stype = int, initcond = '0', parallel = safe)"
        for kind, each in (("FUNCTION", f"{one}(int, text[])"), ("FUNCTION", f"{two}(int)"),
                           ("PROCEDURE", f"{three}(int)"), ("AGGREGATE", f"{total}(int)")):  # fmt: skip
            yield self.given(kind, each)

    def views(self) -> Iterator[str]:
        table, view, kept = self.some_table(), self.new(), self.new()
        yield f"CREATE VIEW {view} AS SELECT id, count(*) FILTER (WHERE id IN (1, 2)) AS n FROM {table} GROUP BY id"
        data = "" if self.often() else " WITH NO DATA"
        yield f"CREATE MATERIALIZED VIEW {kept} AS SELECT * FROM {view} WHERE n > 0 OR id BETWEEN 3 AND 4{data}"
        yield f"CREATE INDEX ON {kept} (n)"
        yield f"ALTER VIEW {view} SET (security_barrier = true)"
        yield self.given("VIEW", view)
        yield self.given("MATERIALIZED VIEW", kept)

    def triggers(self) -> Iterator[str]:
        table, function = self.some_table(), self.new()
        yield f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'"
        when = self.chance.choice(["BEFORE INSERT", "AFTER UPDATE OF id", "AFTER DELETE"])
        trigger = name(self.chance.choice(NAMES))
        yield f"CREATE TRIGGER {trigger} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        yield f"ALTER TABLE {table} {'DISABLE' if self.often(0.3) else 'ENABLE'} TRIGGER USER"
        yield f"CREATE RULE quiet AS ON DELETE TO {table} WHERE old.id IN (5, 6) DO INSTEAD NOTHING"

    def policies(self) -> Iterator[str]:
        table = self.some_table()
        to = f"{name(OWNERS[1])}, {name(OWNERS[2])}"
        yield f"CREATE POLICY own ON {table} FOR SELECT TO {to} USING (id > 0 AND (id < 9 OR id = 77))"
        yield f"CREATE POLICY write ON {table} AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (id IN (1, 2))"
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        if self.often(0.3):
            yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"

    def sequences(self) -> Iterator[str]:
        each = self.new()
        yield f"CREATE SEQUENCE {each} AS smallint INCREMENT -3 MINVALUE -999 MAXVALUE 30 START 20 CACHE 5 CYCLE"
        yield f"SELECT nextval({literal(each)}) FROM generate_series(1, {self.chance.randint(0, 5)})"
        yield self.given("SEQUENCE", each)

    def large_objects(self) -> Iterator[str]:
        for _ in range(self.chance.randint(1, 3)):
            made = f"lo_from_bytea(0, '\\x{self.chance.randbytes(50).hex()}')"
            yield f"DO $$ BEGIN EXECUTE format('ALTER LARGE OBJECT %s OWNER TO {ROLE}', {made}); END $$"

    def search(self) -> Iterator[str]:
        config, dictionary = self.new(), self.new()
        yield f"CREATE TEXT SEARCH DICTIONARY {dictionary} (template = snowball, language = french)"
        yield f"CREATE TEXT SEARCH CONFIGURATION {config} (COPY = pg_catalog.simple)"
        yield f"ALTER TEXT SEARCH CONFIGURATION {config} ALTER MAPPING FOR word, asciiword WITH {dictionary}, simple"
        yield self.given("TEXT SEARCH CONFIGURATION", config)

    def operators(self) -> Iterator[str]:
        function, pair = self.new(), self.new()
        yield f"CREATE TYPE {pair} AS (l int, r int)"
        yield f"CREATE FUNCTION {function}({pair}, {pair}) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"
        yield (f"CREATE OPERATOR {name(self.chance.choice(self.schemas))}.@=@ (leftarg = {pair}, rightarg = {pair},"
               f" function = {function}, restrict = eqsel)")  # fmt: skip
        yield f"CREATE CAST (text AS {pair}) WITH INOUT AS ASSIGNMENT"

    def publications(self) -> Iterator[str]:
        publication = name(self.chance.choice(NAMES))
        yield f"CREATE PUBLICATION {publication} FOR TABLE {self.some_table()} WITH (publish = 'insert')"

    def superusers(self) -> Iterator[str]:
        """What an administrator alone can load again."""
        if not self.often(0.3):
            return
        function = self.new()
        yield "CREATE EXTENSION IF NOT EXISTS file_fdw"
        yield f"CREATE SERVER {name(self.chance.choice(NAMES))} FOREIGN DATA WRAPPER file_fdw"
        yield f"CREATE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
        yield f"CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION {function}()"
        yield "ALTER EVENT TRIGGER watch DISABLE"

    def default_privileges(self) -> Iterator[str]:
        schema = f"IN SCHEMA {name(self.chance.choice(self.schemas))} " if self.often() else ""
        yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {ROLE} {schema}GRANT SELECT ON TABLES TO {name(OWNERS[2])}"

    def grants(self) -> Iterator[str]:
        for table in self.tables:
            to = self.chance.choice([name(OWNERS[1]), name(OWNERS[2]), "PUBLIC"])
            option = " WITH GRANT OPTION" if to != "PUBLIC" and self.often(0.3) else ""
            what = self.chance.choice(["SELECT", "INSERT, UPDATE", "SELECT (id)", "ALL"])
            yield f"GRANT {what} ON {table} TO {to}{option}"
            if self.often(0.2):
                yield f"REVOKE INSERT ON {table} FROM {ROLE}"
        for schema in self.schemas:
            yield f"GRANT USAGE ON SCHEMA {name(schema)} TO {name(OWNERS[2])}"

    def comments(self) -> Iterator[str]:
        for table in self.tables:
            yield f"COMMENT ON TABLE {table} IS {literal(text(self.chance))}"
            yield f"COMMENT ON COLUMN {table}.id IS {literal(text(self.chance))}"


OTHERS = [Generated.partitions, Generated.inheritance, Generated.functions, Generated.views, Generated.triggers,
          Generated.policies, Generated.sequences, Generated.large_objects, Generated.search, Generated.operators,
          Generated.publications, Generated.superusers, Generated.default_privileges]  # fmt: skip
