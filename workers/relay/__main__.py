"""Run as `python -m workers.relay`."""

from workers.relay.process import main

if __name__ == "__main__":
    main()
