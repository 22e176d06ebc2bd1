"""Jobs across applications: they run the applications' commands as child processes over files."""
