"""A rental shop (many owners, domains, partitions, triggers, full text, inheritance), dumped and restored equal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import BACKUP_ROLE, ROLE
from .host import Host
from .test_generated import everything, rows
from .test_restore import databases, may_create  # noqa: F401
from .test_restore_elsewhere import administrator, leftover_roles
from .test_restore_test import verdict

STAFF, REPORTING = '"Rental staff"', "rental_reporting"
SHOP = f"""
    SET ROLE {ROLE};
    CREATE TYPE rating AS ENUM ('G', 'PG', 'NC-17');
    CREATE DOMAIN year AS integer CHECK (VALUE BETWEEN 1901 AND 2155);
    CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched = now(); RETURN NEW; END $$;
    CREATE TABLE thing (id serial PRIMARY KEY, touched timestamptz NOT NULL DEFAULT now());
    CREATE TABLE film (title text NOT NULL, release year, rating rating DEFAULT 'G', features text[],
        words tsvector) INHERITS (thing);
    ALTER TABLE film ADD PRIMARY KEY (id);
    CREATE TRIGGER touched BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION touched();
    CREATE TRIGGER words BEFORE INSERT OR UPDATE ON film FOR EACH ROW
        EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.english', title);
    CREATE INDEX film_words ON film USING gist (words);
    CREATE TABLE actor (first text, last text) INHERITS (thing);
    CREATE INDEX ON actor (lower(last) text_pattern_ops) WHERE first <> '';
    CREATE TABLE film_actor (film int REFERENCES film ON UPDATE CASCADE, actor int, PRIMARY KEY (film, actor));
    CREATE AGGREGATE group_concat(text) (sfunc = textcat, stype = text, initcond = '');
    CREATE FUNCTION in_stock(film int, OUT copies int) LANGUAGE sql STABLE SECURITY DEFINER
        AS $$ SELECT 7 - film % 7 $$;
    RESET ROLE;
    CREATE SCHEMA till AUTHORIZATION {STAFF}; GRANT USAGE ON SCHEMA till TO {REPORTING}, {ROLE};
    CREATE SCHEMA sums AUTHORIZATION {REPORTING}; GRANT SELECT, REFERENCES ON film TO {STAFF};
    SET ROLE {STAFF};
    CREATE TABLE till.payment (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, amount numeric(5,2) CHECK
        (amount > 0), film int REFERENCES public.film, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE till."payment 2025" PARTITION OF till.payment FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE till."payment, later" PARTITION OF till.payment DEFAULT;
    CREATE INDEX ON till.payment (film); ALTER TABLE till.payment ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON till.payment FOR SELECT TO {REPORTING} USING (amount < 5);
    GRANT SELECT ON till.payment TO {REPORTING} WITH GRANT OPTION; GRANT SELECT (amount) ON till.payment TO {ROLE};
    RESET ROLE; SET ROLE {REPORTING};
    CREATE VIEW sums.takings AS SELECT at, sum(amount) FROM till.payment GROUP BY at;
    CREATE MATERIALIZED VIEW sums.films_by_year AS SELECT 2000 + i AS year, i AS number FROM generate_series(1, 9) i;
    CREATE UNIQUE INDEX ON sums.films_by_year (year);
    CREATE RULE none AS ON DELETE TO sums.takings DO INSTEAD NOTHING;
    RESET ROLE;
    INSERT INTO film (title, release, rating) SELECT 'The ' || i || 'nd Alien', 1950 + i, 'PG'
      FROM generate_series(1, 50) i;
    INSERT INTO actor (first, last) SELECT 'É', 'Müller ' || i FROM generate_series(1, 20) i;
    INSERT INTO film_actor SELECT id, id + 1 FROM film;
    INSERT INTO till.payment (at, amount, film) SELECT date '2025-10-01' + i * 5, 1 + i % 9, 1 + i FROM
        generate_series(1, 40) i;
    COMMENT ON DOMAIN year IS 'since films were made'; COMMENT ON COLUMN film.features IS 'extras';
"""


@pytest.fixture
def shop(host: Host, may_create: Host) -> Iterator[Host]:  # noqa: F811
    cluster = host.cluster
    if cluster.major < 14:
        pytest.skip("no pg_read_all_data")
    cluster.ask("postgres", f"CREATE ROLE {STAFF} LOGIN; CREATE ROLE {REPORTING}; GRANT pg_read_all_data TO {ROLE};"
                            f" ALTER ROLE {ROLE} BYPASSRLS")  # fmt: skip
    cluster.ask(host.database, SHOP)
    yield host
    for name in (host.database, *[each for each in databases(host) if each.startswith("shop")]):
        cluster.drop_database(name)
    cluster.ask("postgres", f"DROP ROLE {STAFF}, {REPORTING}; ALTER ROLE {ROLE} NOBYPASSRLS;"
                            f" REVOKE pg_read_all_data FROM {ROLE}")  # fmt: skip


@pytest.mark.parametrize("dumped_by", [ROLE, BACKUP_ROLE])
def test_rental_shop_comes_back_equal_whoever_dumps_and_whoever_restores(shop: Host, dumped_by: str) -> None:
    host, cluster = shop, shop.cluster
    host.configure(postgres_backup_user=dumped_by)
    host.good_backup()
    assert host.manifest()["role"] == dumped_by
    tested = host.restore_test()
    assert tested.returncode == 0 and "administrator alone" in verdict(host)["message"], tested.stderr
    wanted = everything(cluster, host.database), rows(cluster, host.database)
    refused = host.restore("--into", "shop")
    assert refused.returncode == 2 and "Rental staff" in refused.stderr, refused.stderr
    done = host.restore("--into", "shop_by_administrator", "--as-administrator", administrator(host))
    assert done.returncode == 0, done.stderr
    cluster.ask("postgres", f"GRANT {STAFF}, {REPORTING} TO {ROLE}")  # who may become the owners restores by himself
    done = host.restore("--into", "shop")
    assert done.returncode == 0, done.stderr
    for name in ("shop", "shop_by_administrator"):
        assert (everything(cluster, name), rows(cluster, name)) == wanted, name
    assert leftover_roles(host) == ""
