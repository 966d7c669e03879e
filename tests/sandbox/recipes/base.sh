#!/bin/sh
# Turns Debian's root file system into a server as one finds it: what is missing is installed, an
# administrator exists, sshd takes keys only. Runs in a build container; its arguments are the packages to be there.
set -eu
export DEBIAN_FRONTEND=noninteractive

# A pulled image carries Docker's own shortcuts, which no server has: they delete downloaded packages,
# leave documentation out and forbid services to start.
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/docker* /usr/sbin/policy-rc.d

# The host is disposable: losing a package to a power cut costs nothing, an fsync per file does.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/sandbox
echo 'Acquire::Languages "none";' > /etc/apt/apt.conf.d/90sandbox-languages

apt-get -q update
apt-get -q install --yes --no-install-recommends "$@"
apt-get clean

# Debian's own upgrades run at random times and would hold dpkg's lock in the middle of a deploy.
systemctl disable apt-daily.timer apt-daily-upgrade.timer 2>/dev/null || true

echo 'LANG=C.UTF-8' > /etc/default/locale
useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin
chmod 0440 /etc/sudoers.d/admin
install -d -m 0700 /root/.ssh
install -d -m 0700 -o admin -g admin /home/admin/.ssh

cat > /etc/ssh/sshd_config.d/sandbox.conf <<'CONFIG'
PermitRootLogin prohibit-password
PasswordAuthentication no
# Deploys, checks and benchmarks connect in bursts.
MaxStartups 100
MaxSessions 100
CONFIG

# Every host has a key of its own: none in the image, one made at the first boot.
rm -f /etc/ssh/ssh_host_*
cat > /etc/systemd/system/sandbox-host-key.service <<'UNIT'
[Unit]
Description=Generate this host's SSH key
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable sandbox-host-key.service ssh.service cron.service

: > /etc/machine-id
