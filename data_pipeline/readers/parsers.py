"""What the sandbox imports once before it forks: the parsers of untrusted files.

Trap: whatever starts threads must not be imported here; a fork would hold their locks for ever. NumPy's linear algebra
would start some, so it is told not to before it is imported; only the sandbox's own process sees that.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import zlib

import lxml.etree
import PIL.Image
import PIL.PngImagePlugin
import pydantic
import pydicom
import pydicom.pixels
import scipy.ndimage
import scipy.optimize
import scipy.spatial

from data_pipeline.readers import dicom, files, reading, safe_xml
from spinemed import volume

__all__ = [
    "PIL",
    "dicom",
    "files",
    "json",
    "lxml",
    "pydantic",
    "pydicom",
    "reading",
    "safe_xml",
    "scipy",
    "volume",
    "zlib",
]
