"""`somagent policy`: check, prove, compare, explain, backtest, sign and change constitutions.

Files are read, proved and compared on this machine, without a server.
"""
