"""Sources to released instructions: readers, draft, verify, revise, release."""
