"""Run the command line as `python -m spinemed`, which launchers such as torchrun need."""

from spinemed.cli import main

if __name__ == "__main__":
    main()
