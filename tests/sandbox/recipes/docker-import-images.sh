#!/bin/sh
# Runs at each boot: Docker gets the images whose root file systems lie here, where it lacks them.
set -eu
cd /usr/local/lib/sandbox-images
entrypoint='ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]'
major=$(cat postgres.major)

docker image inspect redis:7.2-alpine >/dev/null 2>&1 ||
    docker import -c "$entrypoint" -c 'CMD ["redis-server"]' -c 'WORKDIR /data' -c 'VOLUME /data' redis.tar redis:7.2-alpine

docker image inspect postgres:16-alpine >/dev/null 2>&1 ||
    docker import -c "$entrypoint" -c 'CMD ["postgres"]' -c 'VOLUME /var/lib/postgresql/data' \
        -c 'ENV PGDATA=/var/lib/postgresql/data LANG=C.UTF-8' -c 'STOPSIGNAL SIGINT' postgres.tar postgres:16-alpine
docker tag postgres:16-alpine "postgres:$major"
docker tag postgres:16-alpine "postgres:$major-alpine"
