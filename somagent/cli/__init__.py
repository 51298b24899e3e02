"""The command line `somagent`: a client of the API, and the commands of the local stack. It opens no database."""
