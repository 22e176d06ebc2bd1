"""From keypoints in pictures to the spine in space: lifters, what they must beat, several views, 2D refinement.

Open `lifter` first (the job), then `inputs` (what goes in and comes out).
"""
