"""Commands `somagent policy`: check, prove, compare, explain, backtest, sign and activate constitutions.

Files are read, proved and compared on this machine, without a server.
"""
