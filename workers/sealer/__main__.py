"""Run as `python -m workers.sealer`."""

from workers.sealer.process import main

if __name__ == "__main__":
    main()
