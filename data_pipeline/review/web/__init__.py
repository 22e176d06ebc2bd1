"""The web application of the clinician review: pages over the services, which decide every right themselves."""

from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings

__all__ = ["Settings", "create_app"]
