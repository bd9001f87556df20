"""Compiled kernels: numbers and arrays in and out, no objects, strings or files."""
