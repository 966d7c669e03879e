"""Print what a check costs: throughput as ratios within one run, decisions without Redis, bytes per key."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from provision.app.layout import limiters
from tests.limiter.debian import require
from tests.limiter.deployed import redis_url, settings_with
from tests.limiter.node import Node, bundle, install_packages, make_app
from tests.limiter.redis_server import RedisServer
from tests.limiter.test_faults import until_redis_decides

ROUNDS = int(os.environ.get("ROUNDS", "20"))
NAMES = {
    "limiter": "the limiter",
    "defaults": "rate-limiter-flexible, defaults",
    "sliding": "sliding-window script",
    "raw": "raw pipelined INCRBY",
}
CHECK = "limiter.checkLoginRateLimit('192.0.2.' + (i % 250))"


def main() -> None:
    require("redis-server", "redis-server", "redis-tools")
    install_packages()
    with tempfile.TemporaryDirectory(prefix="bench-limiter-") as name:
        directory = Path(name)
        settings = settings_with(rate_limits={"bench": "999999999/h"}, redis_max_memory_mb=512)
        app = make_app(directory / "app", limiters(settings))
        shutil.copy(Path(__file__).with_name("contenders.ts"), app)
        redis = RedisServer(directory / "redis", settings)
        with (directory / "redis/users.acl").open("a") as users:  # the contenders have no rights of their own
            users.write("user bench on nopass ~* &* +@all\n")
        redis.start()
        environment = {
            "REDIS_URL": redis_url(settings),
            "BENCH_URL": f"redis://bench:x@127.0.0.1:{settings.redis_port}",
            "ROUNDS": str(ROUNDS),
        }
        try:
            contenders = Node(bundle(app, "contenders.ts"), environment)
            print_throughput(contenders.result(seconds=300))
            print_bytes(redis)
            print_without_redis(Node(bundle(app, "driver.ts"), environment), redis)
        finally:
            redis.kill()


def print_throughput(results: dict[str, dict[str, Any]]) -> None:
    middle = {name: statistics.median(result["rates"]) for name, result in results.items()}
    print("One Node process, 50 checks at a time, 5000 clients (medians of interleaved rounds)\n")
    print(f"{'':34}{'checks/s':>10}{'x defaults':>12}{'x sliding':>11}{'x INCRBY':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for name, label in NAMES.items():
        rate = middle[name]
        ratios = (rate / middle["defaults"], rate / middle["sliding"], rate / middle["raw"])
        latency = f"{results[name]['p50']:>9.2f}{results[name]['p99']:>9.2f}"
        print(f"{label:34}{rate:>10.0f}{ratios[0]:>12.2f}{ratios[1]:>11.2f}{ratios[2]:>10.2f}{latency}")
    ours = middle["limiter"]
    print_aim("times the defaults", ours / middle["defaults"], 2.0)
    print_aim("times raw pipelined INCRBY", ours / middle["raw"], 1.0)


def print_bytes(redis: RedisServer) -> None:
    print("\nBytes per client in Redis (MEMORY USAGE, median of 100)")
    for name, prefix in {"limiter": "medaction:bench:", "defaults": "defaults:", "sliding": "sliding:"}.items():
        keys = [key for key in redis.counters() if key.startswith(prefix)][:100]
        sizes = [int(redis.operator("MEMORY", "USAGE", key)) for key in keys]
        print(f"{NAMES[name]:34}{statistics.median(sizes):>10.0f}")


def print_without_redis(app: Node, redis: RedisServer) -> None:
    print("\nA decision without Redis, in ms, one at a time and 50 at a time")
    try:
        app.run("await limiter.checkLoginRateLimit('first')")
        app.wait_for_log("Connecté")
        redis.kill()
        app.wait_for_log("injoignable")
        print_decisions(app, "Redis down")
        redis.start()
        until_redis_decides(app)
        redis.freeze()
        noticing = app.run(f"return atOnce(50, (i) => {CHECK})")
        print(f"{'Redis frozen: who notices':34}{max(result['ms'] for result in noticing):>10.1f} at most")
        print_decisions(app, "Redis frozen: who comes after")
        redis.thaw()
    finally:
        app.stop()


def print_decisions(app: Node, label: str) -> None:
    results = app.run(
        f"const results = await inTurn(5000, (i) => {CHECK});"
        f"for (let k = 0; k < 100; k += 1) results.push(...(await atOnce(50, (i) => {CHECK})));"
        "return results.map(({ ms }) => ms).sort((a, b) => a - b)"
    )
    p50, p99 = results[len(results) // 2], results[len(results) * 99 // 100]
    print(f"{label:34}{'p50':>10} {p50:.3f}, p99 {p99:.3f}, most {results[-1]:.3f} (aim: p99 under 2)")


def print_aim(what: str, value: float, aim: float) -> None:
    print(f"  {what}: {value:.2f} (aim: at least {aim}; {'reached' if value >= aim else 'NOT reached'})")


if __name__ == "__main__":
    main()
