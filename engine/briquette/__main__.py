"""``python -m briquette``: the command."""

from briquette.cli.main import program

if __name__ == "__main__":
    program()
