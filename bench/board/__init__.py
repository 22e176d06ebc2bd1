"""Scores become one static page, its plots, and tables in the terminal. Only reads what scoring wrote."""

from bench.board.page import BOARD_FILE, write_board

__all__ = ["BOARD_FILE", "write_board"]
