"""One module an attack. Each has `TITLE`, what it does, `LINE`, the line of the list of walls it stands for, and `run(client)`: one
connection's part of it, once; it is called again and again, in `CONNECTIONS` (64) threads. `SHARES_ADDRESS`: B comes from the
attackers' address. `prepare(client)`, once before, gives what `client.given` is then.
"""
