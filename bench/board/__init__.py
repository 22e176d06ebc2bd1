"""Scores become one static page, its plots, and tables in the terminal. Only reads what scoring wrote."""
