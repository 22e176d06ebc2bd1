"""Sources to released instructions: readers, draft, verify, revise, release.

Purpose: `spinemed data run` runs the whole road; `spinemed data trace` follows a released row back to bytes. Other
packages read the release folder, never this package.
"""
