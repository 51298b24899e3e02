"""The command line `somagent`: a client of the API, and the commands of the local stack. Reads no store."""
