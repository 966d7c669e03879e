#!/bin/sh
# Turns a bare Debian server into a stand-in Windows host: whoever logs in as Administrator meets the shim.
# Everybody else, the sandbox itself above all, finds the Debian server underneath.
set -eu
export DEBIAN_FRONTEND=noninteractive
here=$(dirname "$0")

apt-get -q update
apt-get -q install --yes --no-install-recommends python3 openssh-sftp-server
apt-get clean

install -d /usr/local/lib/windows-standin
install -m 0755 "$here/shim.py" "$here/install.py" /usr/local/lib/windows-standin
python3 -I "$here/install.py" /srv/windows

# Root by another name: it needs a chroot for SFTP, and has root's keys.
useradd --non-unique --uid 0 --gid 0 --home-dir /root --shell /bin/sh Administrator
cat > /etc/ssh/sshd_config.d/windows-standin.conf <<'CONFIG'
Match User Administrator
    AuthorizedKeysFile /root/.ssh/authorized_keys
    ForceCommand /usr/bin/python3 -I -S /usr/local/lib/windows-standin/shim.py /srv/windows
CONFIG
