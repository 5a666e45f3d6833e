"""`python -m rhat`: the same as the command `rhat`."""

from rhat.cli import main

if __name__ == "__main__":
    main()
