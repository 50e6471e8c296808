"""``python -m briquette``: the command."""

from briquette.cli.main import main

if __name__ == "__main__":
    main()
