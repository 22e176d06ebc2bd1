"""Vertebra labelling: VerSe folders, masks and centroids of any tool, and what a mask says about the spine.

Purpose: everything that names vertebrae in a CT meets here, in world millimetres and as `Level`. See the README for the
order in which to read the files.
"""

from spinemed.labelling.bodies import body_centroids, whole_centroids
from spinemed.labelling.centroids import CentroidKind, CentroidSet, read_centroids, write_centroids
from spinemed.labelling.dataset import VerseCase, read_case_centroids, read_verse_folder
from spinemed.labelling.masks import SCHEMES, LabelMask, labels_at_border, read_label_mask, vertebra_of_label
from spinemed.labelling.predictions import Prediction, Predictions, match_predictions, prediction_scheme

__all__ = [
    "SCHEMES",
    "CentroidKind",
    "CentroidSet",
    "LabelMask",
    "Prediction",
    "Predictions",
    "VerseCase",
    "body_centroids",
    "labels_at_border",
    "match_predictions",
    "prediction_scheme",
    "read_case_centroids",
    "read_centroids",
    "read_label_mask",
    "read_verse_folder",
    "vertebra_of_label",
    "whole_centroids",
    "write_centroids",
]
