"""``python -m platemill`` is the command ``platemill``."""

from platemill.cli import main

if __name__ == "__main__":
    main()
