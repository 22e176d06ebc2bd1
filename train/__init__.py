"""Released instructions to a model: plan, collate, train, merge."""
