#!/bin/sh
# Debian's Docker engine and Compose, and a small root file system for each image that is needed: the
# release's own programs with the libraries that they load, imported at the first boot.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
here=$(dirname "$0")
images=/usr/local/lib/sandbox-images
built=/var/tmp/images
tools='sh bash env cat ls id find grep sed awk head tail sort cut tr date mktemp install mkdir mv cp rm chown chmod stat
sync sleep seq timeout gzip setpriv'

# copy ROOT FILE...: a program or a library, and every library that it loads
copy() {
    root=$1; shift
    for file in "$@"; do
        { echo "$file"; ldd "$(readlink -f "$file")" 2>/dev/null | grep -o '/[^ )]*' || true; } | while read -r each; do
            mkdir -p "$root$(dirname "$each")"
            [ -e "$root$each" ] || cp -L "$each" "$root$each"
        done
    done
}

# begin NAME USER PROGRAM...: an image's root with the user that its server runs as
begin() {
    root=$built/$1 user=$2; shift 2
    mkdir -p "$root/usr/bin" "$root/usr/lib64" "$root/usr/lib" "$root/usr/sbin" "$root/etc" "$root/usr/local/bin"
    ln -s usr/bin usr/lib usr/lib64 usr/sbin "$root/"
    install -d -m 1777 "$root/tmp"
    printf 'root:x:0:0::/root:/bin/sh\n%s:x:999:999::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' "$user" \
        > "$root/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\nnogroup:x:65534:\n' "$user" > "$root/etc/group"
    for program in $tools "$@"; do copy "$root" "$(command -v "$program")"; done
}

finish() {
    install -m 0755 "$here/docker-entrypoint-$1.sh" "$built/$1/usr/local/bin/docker-entrypoint.sh"
    tar -C "$built/$1" -cf "$images/$1.tar" .
}

mkdir -p "$images"
apt-get -q install --yes --no-install-recommends redis-server postgresql
version=$(pg_lsclusters --no-header | cut -d ' ' -f 1)

begin redis redis redis-server redis-cli
install -d -o 999 -g 999 "$built/redis/data"
finish redis

begin postgres postgres
root=$built/postgres
install -d -o 999 -g 999 "$root/var/lib/postgresql/data" "$root/run/postgresql"
mkdir -p "$root/usr/lib/postgresql" "$root/usr/share/postgresql" "$root/var/run"
ln -s /run/postgresql "$root/var/run/"
cp -a "/usr/lib/postgresql/$version" "$root/usr/lib/postgresql/"
cp -a "/usr/share/postgresql/$version" "$root/usr/share/postgresql/"
rm -rf "$root/usr/lib/postgresql/$version/lib"/llvmjit* "$root/usr/lib/postgresql/$version/lib/bitcode"
cp -a /usr/share/zoneinfo "$root/usr/share/"
cp -a --parents /usr/lib/locale/C.utf8 "$root"
find "/usr/lib/postgresql/$version" -name 'llvmjit*' -prune -o \( -path '*/bin/*' -o -name '*.so' \) -type f -print |
    while read -r file; do copy "$root" "$file"; done
for program in "/usr/lib/postgresql/$version/bin"/*; do ln -sf "$program" "$root/usr/bin/"; done
echo "$version" > "$images/postgres.major"
finish postgres

# The host itself has none of it.
apt-get -q purge --yes --autoremove redis-server redis-tools postgresql 'postgresql-*' >/dev/null
rm -rf "$built" /var/lib/redis /var/lib/postgresql /etc/redis /etc/postgresql /var/log/redis /var/log/postgresql
for user in redis postgres; do userdel "$user" 2>/dev/null || true; done

apt-get -q install --yes --no-install-recommends docker.io docker-cli docker-compose iptables
apt-get clean
# Beside the host in the machine's tree of cgroups, not below it: where that tree is a hybrid one, a container
# below would forbid `docker exec` into the host (runc#2356: "device or resource busy").
mkdir -p /etc/docker
cat > /etc/docker/daemon.json <<'JSON'
{"exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "/medaction-sandbox"}
JSON
install -m 0755 "$here/docker-import-images.sh" "$images/import"
cat > /etc/systemd/system/sandbox-images.service <<'UNIT'
[Unit]
Description=Give Docker the images that need no registry
Requires=docker.service
After=docker.service

[Service]
Type=oneshot
ExecStart=/usr/local/lib/sandbox-images/import

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable docker.service sandbox-images.service
