"""Reader study: clinicians judge outputs of models, a reference and a doctored control, not knowing which is which."""
