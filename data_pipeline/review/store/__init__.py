"""The database of a review: tables, migrations, and how it is opened."""

from data_pipeline.review.store.database import Blobs, Store, open_store, upgrade

__all__ = ["Blobs", "Store", "open_store", "upgrade"]
