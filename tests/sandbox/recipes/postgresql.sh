#!/bin/sh
# The release's PostgreSQL with MedAction's sample database, as a database server is found before a deploy.
# The role's password is set at boot: the image holds none.
set -eu
export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 LC_ALL=C.UTF-8

apt-get -q install --yes --no-install-recommends postgresql postgresql-contrib
apt-get clean
version=$(pg_lsclusters --no-header | cut -d ' ' -f 1)

echo "listen_addresses = '*'" > "/etc/postgresql/$version/main/conf.d/sandbox.conf"
# samenet is the sandbox's own network, whatever its addresses are.
cat > "/etc/postgresql/$version/main/pg_hba.conf" <<'HBA'
local  all  postgres                peer
local  all  all                     scram-sha-256
host   all  all       127.0.0.1/32  scram-sha-256
host   all  all       ::1/128       scram-sha-256
host   all  all       samenet       scram-sha-256
HBA

pg_ctlcluster "$version" main restart || pg_ctlcluster "$version" main start
as_postgres() { su postgres -c "psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 $*"; }
as_postgres <<'SQL'
CREATE ROLE medaction LOGIN CREATEDB;
CREATE DATABASE medaction OWNER medaction;
CREATE DATABASE medaction_test OWNER medaction;
SQL
# As the owner, so that everything belongs to the app's role.
{ echo 'SET SESSION AUTHORIZATION medaction;'; cat "$(dirname "$0")/medaction.sql"; } \
    | as_postgres --dbname medaction
as_postgres --dbname medaction --command VACUUM --command ANALYZE
pg_ctlcluster "$version" main stop
