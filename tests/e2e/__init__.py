"""The whole project on the sandbox's real servers: deploy, deploy again, break things, recover.

All on one set of hosts, booted once. In any order: what a test needs it asks for by a fixture (`deployed` mends what
an earlier test left behind).
"""
