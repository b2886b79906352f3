"""`python -m ctrloom` is the command `ctrloom`."""

from ctrloom import interruption


def main() -> None:
    """Entry point; signals count from here on, while the command line is being loaded, too."""
    with interruption.stoppable():
        from ctrloom.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
