#!/bin/sh
# Builds, on a sandbox host that has a PostgreSQL client, a signed package repository in the shape of PGDG's,
# whose package carries that real client with every library it needs, so that it runs on an older release too.
# A stand-in for https://apt.postgresql.org, which the tests' machines may not reach.
#   build-repository.sh DIRECTORY SUITE MAJOR
set -eu
root=$1 suite=$2 major=$3
package=postgresql-client-$major
architecture=$(dpkg --print-architecture)
bin=/usr/lib/postgresql/$major/bin

command -v gpg >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -qq -y install gnupg >/dev/null
rm -rf "$root"
tree=$(mktemp -d); trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"  # it becomes the package's "/", and dpkg gives that mode to the host's own

own=/usr/lib/postgresql/$major/own
mkdir -p "$tree$bin" "$tree$own" "$tree/usr/bin" "$tree/DEBIAN"
for program in pg_dump pg_dumpall pg_restore psql; do
    cp "$bin/$program" "$tree$own/$program.elf"
    ldd "$bin/$program" | grep -o '/[^ ]*' | xargs -I{} cp -nL {} "$tree$own/"
    # Through its own loader and libraries: those of the release that it is installed on may be older.
    printf '#!/bin/sh\nexec %s/%s --library-path %s %s/%s.elf "$@"\n' \
        "$own" "$(basename "$(ldd "$bin/$program" | grep -o '/[^ ]*ld-linux[^ ]*')")" "$own" "$own" "$program" \
        > "$tree$bin/$program"
    chmod 755 "$tree$bin/$program"
    cp -p "$tree$bin/$program" "$tree$own/$program"  # pg_dumpall looks for pg_dump beside itself
    # As postgresql-client-common does for the real package.
    ln -s "$bin/$program" "$tree/usr/bin/$program"
done
cat > "$tree/DEBIAN/control" <<END
Package: $package
Version: $major.99-$(date +%s).stand-in
Architecture: $architecture
Maintainer: the tests of this project <nobody@example.com>
Description: stand-in for PGDG's client, with its libraries
END

pool=$root/pool; index=dists/$suite-pgdg/main/binary-$architecture
mkdir -p "$pool" "$root/$index"
dpkg-deb --root-owner-group -Znone -b "$tree" "$pool/$package.deb" >/dev/null
{
    cat "$tree/DEBIAN/control"
    echo "Filename: pool/$package.deb"
    echo "Size: $(stat -c %s "$pool/$package.deb")"
    echo "SHA256: $(sha256sum "$pool/$package.deb" | cut -d' ' -f1)"
} > "$root/$index/Packages"
gzip -k "$root/$index/Packages"

cd "$root/dists/$suite-pgdg"
{
    printf 'Origin: stand-in\nSuite: %s\nCodename: %s\nArchitectures: %s\nComponents: main\nDate: %s\nSHA256:\n' \
        "$suite-pgdg" "$suite-pgdg" "$architecture" "$(date -Ru)"
    for file in main/binary-"$architecture"/Packages*; do
        printf ' %s %s %s\n' "$(sha256sum "$file" | cut -d' ' -f1)" "$(stat -c %s "$file")" "$file"
    done
} > Release
GNUPGHOME=$tree/gnupg; export GNUPGHOME; mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key 'stand-in' ed25519 sign 1d
gpg --batch --quiet --clearsign --output InRelease Release
gpg --batch --quiet --armor --export > "$root/key.asc"
gpgconf --kill gpg-agent
