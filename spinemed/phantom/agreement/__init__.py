"""Does a measurement on a rendered phantom agree with the parameter? True values, cases, tables."""
