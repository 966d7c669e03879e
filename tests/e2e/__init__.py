"""The whole project on the sandbox's real servers: deploy, deploy again, break things, recover.

The files run in the order of their numbers, on one set of hosts that the first of them boots anew.
"""
