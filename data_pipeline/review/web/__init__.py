"""The web application of the clinician review: pages over the services, which decide every right themselves."""
