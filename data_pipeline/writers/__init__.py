"""Who writes drafts and revisions: rules, a language model on a server, or one in this process; one interface for all.

Purpose: `writer.py` holds the interface and the rule writer, `model.py` the model; the rest is what a model is shown,
the form it answers in, and how its answer becomes items.
"""
